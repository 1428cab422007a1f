"""Tables: every evaluated circuit in one frame, and the paper's tables from it."""

MEASURED = {
    "gold": expand(
        "results/faithfulness/gold/{target}/{task}/{method}.parquet",
        target=TARGETS,
        task=TASKS,
        method=METHODS,
    ),
    "random": expand(
        "results/faithfulness/random/{target}/{task}.parquet",
        target=TARGETS,
        task=TASKS,
    ),
    "aligned": per_pair(
        "results/faithfulness/aligned/{source}/{target}/{task}/{method}.parquet",
        task=TASKS,
        method=METHODS,
    ),
    "imported": [
        f"results/faithfulness/imported/{circuit['target']}/{circuit['task']}/{name}.parquet"
        for name, circuit in CIRCUITS.items()
    ],
}
MAPS = list(dict.fromkeys([MAP, *config["alignment"]["compare"]]))


rule summarise_faithfulness:
    input:
        **MEASURED,
    output:
        cpr="results/tables/cpr.parquet",
        curves="results/tables/curves.parquet",
    log:
        "results/logs/summarise_faithfulness.log",
    benchmark:
        "results/benchmarks/summarise_faithfulness.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        siblings=STUDY["siblings"],
        families=FAMILIES,
    message:
        "Collecting every evaluated circuit"
    script:
        "../scripts/summarise_faithfulness.py"


rule summarise_statistics:
    input:
        **MEASURED,
        cpr="results/tables/cpr.parquet",
    output:
        statistics="results/tables/statistics.parquet",
        curves="results/tables/curve-intervals.parquet",
        columns=table_files("statistics-columns", "statistics-columns", "Statistics"),
    log:
        "results/logs/summarise_statistics.log",
    benchmark:
        "results/benchmarks/summarise_statistics.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        siblings=STUDY["siblings"],
        families=FAMILIES,
    message:
        "Intervals and tests of every circuit"
    script:
        "../scripts/summarise_statistics.py"


rule summarise_maps:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files(
            "maps/{source}/{target}",
            "maps",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/summarise_maps/{source}/{target}.log",
    benchmark:
        "results/benchmarks/summarise_maps/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=MAPS,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Maps of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_maps.py"


rule summarise_tests:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files(
            "tests/{source}/{target}",
            "tests",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/summarise_tests/{source}/{target}.log",
    benchmark:
        "results/benchmarks/summarise_tests/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=MAPS,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Tests of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_tests.py"


rule summarise_models:
    input:
        models=expand("results/models/{model}/model.json", model=MODELS),
        pairs=expand("results/pairs/{model}/{task}.parquet", model=MODELS, task=TASKS),
        rejects=expand(
            "results/pairs/{model}/{task}.rejects.parquet", model=MODELS, task=TASKS
        ),
        curves="results/tables/curves.parquet",
    output:
        models_table=table_files("models", "models", "Models and tasks"),
        rejects_table=table_files("rejects", "rejects", "Models and tasks"),
        rejects_summary=table_files(
            "rejects-summary", "rejects-summary", "Models and tasks"
        ),
    log:
        "results/logs/summarise_models.log",
    benchmark:
        "results/benchmarks/summarise_models.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        models=MODELS,
        cells=[(model, task) for model in MODELS for task in TASKS],
        ablation=ABLATION,
    message:
        "Tabulating models and rejects"
    script:
        "../scripts/summarise_models.py"


rule summarise_leaderboard:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files(
            "leaderboard/{source}/{target}",
            "leaderboard",
            "Is the transfer faithful?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/summarise_leaderboard/{source}/{target}.log",
    benchmark:
        "results/benchmarks/summarise_leaderboard/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        tasks=TASKS,
        map_name=MAP,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Leaderboard of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_leaderboard.py"


rule summarise_controls:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files(
            "controls/{source}/{target}",
            "controls",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/summarise_controls/{source}/{target}.log",
    benchmark:
        "results/benchmarks/summarise_controls/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        tasks=TASKS,
        map_name=MAP,
        methods=METHODS,
        controls=CONTROLS,
        ablation=ABLATION,
    message:
        "Controls of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_controls.py"


rule summarise_scaling:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files(
            "scaling/{task}", "scaling", "Is the transfer faithful?", task="{task}"
        ),
    log:
        "results/logs/summarise_scaling/{task}.log",
    benchmark:
        "results/benchmarks/summarise_scaling/{task}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        transfers=STUDY["transfers"],
        map_name=MAP,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Scaling of {wildcards.task} over model pairs"
    script:
        "../scripts/summarise_scaling.py"


rule summarise_imported:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        table_files("imported", "imported", "Imported circuits"),
    log:
        "results/logs/summarise_imported.log",
    benchmark:
        "results/benchmarks/summarise_imported.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        # Without their files: Snakemake shows params in its report.
        circuits={
            name: {key: circuit[key] for key in ["target", "task"]}
            for name, circuit in CIRCUITS.items()
        },
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Tabulating imported circuits"
    script:
        "../scripts/summarise_imported.py"
