"""How like the gold scores projections are, and how stable the circuits are."""


rule correlate_scores:
    input:
        projections=per_pair(
            "results/projections/{source}/{target}/{task}/{method}.parquet",
            task=TASKS,
            method=METHODS,
        ),
        gold=expand(
            "results/scores/{target}/{task}/{method}.safetensors",
            target=TARGETS,
            task=TASKS,
            method=METHODS,
        ),
    output:
        correlations="results/tables/correlations.parquet",
        tables=[
            path
            for source, target in TRANSFERS
            for path in table_files(
                f"correlations/{source}/{target}",
                "correlations",
                "Does the source matter?",
                source=source,
                target=target,
            )
        ],
    log:
        "results/logs/correlate_scores.log",
    benchmark:
        "results/benchmarks/correlate_scores.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        pairs=TRANSFERS,
        methods=METHODS,
        proportions=config["evaluation"]["proportions"],
        families=FAMILIES,
    message:
        "Comparing projected scores with gold ones"
    script:
        "../scripts/correlate_scores.py"


rule plot_correlations:
    input:
        correlations="results/tables/correlations.parquet",
    output:
        figure_files(
            "correlations/{source}/{target}",
            "correlations",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_correlations/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_correlations/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        methods=METHODS,
        map_name=MAP,
    message:
        "Drawing how like the gold scores {wildcards.source} to {wildcards.target} is"
    script:
        "../scripts/plot_correlations.py"


rule plot_stability:
    input:
        source=expand(
            "results/scores/{source}/{task}/{method}.safetensors",
            task=TASKS,
            allow_missing=True,
        ),
        gold=expand(
            "results/scores/{target}/{task}/{method}.safetensors",
            task=TASKS,
            allow_missing=True,
        ),
        alignments=expand(
            "results/alignments/{source}/{target}/{method}/{training_set}/seed-{seed}.safetensors",
            training_set=[each for each in TRAINING_SETS if each != "all"],
            seed=SEEDS,
            allow_missing=True,
        ),
    output:
        tables=[
            "results/tables/stability/{source}/{target}/{method}.parquet",
            "results/tables/stability/{source}/{target}/{method}.csv",
        ],
        figures=figure_files(
            "stability/{source}/{target}/{method}",
            "stability",
            "What do the circuits look like?",
            source="{source}",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_stability/{source}/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_stability/{source}/{target}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        tasks=TASKS,
        proportions=config["evaluation"]["proportions"],
        families=FAMILIES,
    message:
        "Resampling the circuits of {wildcards.source} and {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_stability.py"
