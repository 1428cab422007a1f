"""Tables: every evaluated circuit in one frame, and the paper's tables from it."""


rule summarise_faithfulness:
    input:
        **study.measured(),
    output:
        cpr=path("cpr"),
        curves=path("curves"),
    log:
        job("summarise_faithfulness").log,
    benchmark:
        job("summarise_faithfulness").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("siblings", "families", "edge_ranking"),
    message:
        "Collecting every evaluated circuit"
    script:
        "../scripts/summarise_faithfulness.py"


rule summarise_statistics:
    input:
        **study.measured(),
        cpr=path("cpr"),
    output:
        statistics=path("statistics"),
        curves=path("curve-intervals"),
        columns=table("statistics-columns"),
    log:
        job("summarise_statistics").log,
    benchmark:
        job("summarise_statistics").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("siblings", "families", "edge_ranking"),
    message:
        "Intervals and tests of every circuit"
    script:
        "../scripts/summarise_statistics.py"


rule summarise_leaderboard:
    input:
        statistics=path("statistics"),
    output:
        table("leaderboard"),
    log:
        job("summarise_leaderboard").log,
    benchmark:
        job("summarise_leaderboard").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Leaderboard of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_leaderboard.py"


rule summarise_scaling:
    input:
        statistics=path("statistics"),
    output:
        table("scaling"),
    log:
        job("summarise_scaling").log,
    benchmark:
        job("summarise_scaling").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("transfers", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Scaling of {wildcards.task} over model pairs"
    script:
        "../scripts/summarise_scaling.py"


rule summarise_imported:
    input:
        statistics=path("statistics"),
        curves=path("curves"),
    output:
        table("imported"),
    log:
        job("summarise_imported").log,
    benchmark:
        job("summarise_imported").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("methods", "ablation"),
        # Without their files: Snakemake shows params in its report.
        circuits={
            name: {key: circuit[key] for key in ["target", "task"]}
            for name, circuit in study.circuits.items()
        },
    message:
        "Tabulating imported circuits"
    script:
        "../scripts/summarise_imported.py"
