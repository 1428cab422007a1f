"""Whether transfers use their source: tests over families of tasks, and figures."""


rule summarise_source_use:
    input:
        cpr=path("cpr"),
        models=study.every(path("model")),
        scores=study.every(path("scores")),
        edge_scores=study.transferred_edge_scores(),
    output:
        source_use=path("source-use"),
        tables=table("source-use"),
    log:
        job("summarise_source_use").log,
    benchmark:
        job("summarise_source_use").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("pairs", "tasks", "families", "ablation", "edge_ranking"),
        methods=study.transferred_methods,
        maps=study.every_map,
        transform=config["alignment"]["transform"],
        edge_transform=config["alignment"]["edges"]["transform"],
    message:
        "Testing over families whether transfers use their source"
    script:
        "../scripts/summarise_source_use.py"


rule plot_source_use:
    input:
        source_use=path("source-use"),
    output:
        figure("source-use"),
    log:
        job("plot_source_use").log,
    benchmark:
        job("plot_source_use").benchmark
    wildcard_constraints:
        **study.any_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=study.every_map,
    message:
        "Drawing whether transfers use their source, by {wildcards.method}"
    script:
        "../scripts/plot_source_use.py"


rule plot_source_use_by_similarity:
    input:
        source_use=path("source-use"),
    output:
        figure("source-use-by-similarity"),
    log:
        job("plot_source_use_by_similarity").log,
    benchmark:
        job("plot_source_use_by_similarity").benchmark
    wildcard_constraints:
        **study.any_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=study.every_map,
    message:
        "Drawing it by how similar the tasks are in both models, by {wildcards.method}"
    script:
        "../scripts/plot_source_use_by_similarity.py"
