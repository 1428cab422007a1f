"""Sensitivity: the study of a pair again, with other values of one setting at a time."""

# Methods without integrated gradients have no steps to vary.
VARIED = [
    f"{source}/{target}/{method}/{setting}"
    for source, target in TRANSFERS
    for method in METHODS
    for setting in config["sensitivity"]
    if setting != "ig_steps" or takes_steps(method)
]
SENSITIVITY_RESULTS = [
    *(["results/tables/sensitivity.csv"] if VARIED else []),
    *expand("results/figures/sensitivity/{job}.png", job=VARIED),
]


rule vary_setting:
    input:
        source="results/models/{source}/model.json",
        target="results/models/{target}/model.json",
        source_weights=weights("source"),
        target_weights=weights("target"),
        source_pairs=expand(
            "results/pairs/{source}/{task}.parquet", task=TASKS, allow_missing=True
        ),
        target_pairs=expand(
            "results/pairs/{target}/{task}.parquet", task=TASKS, allow_missing=True
        ),
    output:
        areas="results/sensitivity/{source}/{target}/{method}/{setting}.parquet",
        cost="results/costs/vary_setting/{source}/{target}/{method}/{setting}.json",
    log:
        "results/logs/vary_setting/{source}/{target}/{method}/{setting}.log",
    benchmark:
        "results/benchmarks/vary_setting/{source}/{target}/{method}/{setting}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("vary_setting", "source", "target"),
    params:
        tasks=TASKS,
        values=lambda w: config["sensitivity"][w.setting],
        settings={
            "fit": fit_settings(),
            "map": MAP,
            "prior": {
                key: config["alignment"]["prior"][key]
                for key in ["depth_width", "temperature"]
            },
            "transform": config["alignment"]["transform"],
            "seeds": SEEDS,
            "ig_steps": config["attribution"]["ig_steps"],
            "scored_examples": config["attribution"]["examples"],
            "scoring_batch_size": config["attribution"]["batch_size"],
            "examples": config["alignment"]["examples"],
            "batch_size": config["alignment"]["batch_size"],
            "proportions": config["evaluation"]["proportions"],
            "measured_examples": config["evaluation"]["examples"],
            "measuring_batch_size": config["evaluation"]["batch_size"],
            "random_rankings": config["evaluation"]["random_rankings"],
            "attribution_ablation": config["attribution"]["ablation"],
            "evaluation_ablation": ABLATION,
        },
        siblings=STUDY["siblings"],
        families=FAMILIES,
    message:
        "Varying {wildcards.setting}: {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/vary_setting.py"


rule plot_sensitivity:
    input:
        areas="results/sensitivity/{source}/{target}/{method}/{setting}.parquet",
    output:
        figure_files(
            "sensitivity/{source}/{target}/{method}/{setting}",
            "sensitivity",
            "How much do the settings matter?",
            source="{source}",
            target="{target}",
            method="{method}",
            setting="{setting}",
        ),
    log:
        "results/logs/plot_sensitivity/{source}/{target}/{method}/{setting}.log",
    benchmark:
        "results/benchmarks/plot_sensitivity/{source}/{target}/{method}/{setting}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        tasks=TASKS,
    message:
        "Drawing {wildcards.setting}: {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_sensitivity.py"


rule summarise_sensitivity:
    input:
        areas=expand("results/sensitivity/{job}.parquet", job=VARIED),
    output:
        table_files("sensitivity", "sensitivity", "How much do the settings matter?"),
    log:
        "results/logs/summarise_sensitivity.log",
    benchmark:
        "results/benchmarks/summarise_sensitivity.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Tabulating how much the settings matter"
    script:
        "../scripts/summarise_sensitivity.py"


rule sensitivity:
    input:
        SENSITIVITY_RESULTS,
