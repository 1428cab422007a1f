"""What the study has cost, and from how many tasks on a transfer is cheaper."""

COSTLY_JOBS = [
    *expand(
        "attribute_nodes/{model}/{task}/{method}",
        model=MODELS,
        task=TASKS,
        method=METHODS,
    ),
    *per_pair(
        "fit_alignment/{source}/{target}/{method}/{training_set}",
        method=METHODS,
        training_set=TRAINING_SETS,
    ),
    *per_pair(
        "stitch_alignment/{source}/{target}/{task}",
        task=TASKS if STITCHED in COMPARED else [],
    ),
    *per_pair(
        "carry_gradients/{source}/{target}/{task}/{method}",
        task=TASKS if CARRIED in COMPARED else [],
        method=[method for method in METHODS if has_run_gradients(method)],
    ),
    *expand(
        "fit_free_mask/{target}/{task}",
        target=TARGETS if TRANSFERS and "free-mask" in CONTROLS else [],
        task=TASKS,
    ),
    *expand(
        "evaluate_gold/{target}/{task}/{method}",
        target=TARGETS,
        task=TASKS,
        method=METHODS,
    ),
    *expand("evaluate_random/{target}/{task}", target=TARGETS, task=TASKS),
    *per_pair(
        "evaluate_aligned/{source}/{target}/{task}/{method}",
        task=TASKS,
        method=METHODS,
    ),
    *[
        f"evaluate_imported/{circuit['target']}/{circuit['task']}/{name}"
        for name, circuit in CIRCUITS.items()
    ],
    *[f"vary_setting/{job}" for job in VARIED],
]


rule summarise_costs:
    input:
        costs=expand("results/costs/{job}.json", job=COSTLY_JOBS),
        benchmarks=expand("results/benchmarks/{job}.tsv", job=COSTLY_JOBS),
        models=expand("results/models/{model}/model.json", model=MODELS),
    output:
        costs_table=table_files("costs", "costs", "What does it cost?"),
        break_even="results/tables/break-even.parquet",
        break_even_table=table_files("break-even", "break-even", "What does it cost?"),
    log:
        "results/logs/summarise_costs.log",
    benchmark:
        "results/benchmarks/summarise_costs.tsv"
    group:
        "summaries"
    conda:
        "../../envs/torch.yaml"
    params:
        jobs=COSTLY_JOBS,
        training={
            name: training_tasks(name, TASKS, FAMILIES)
            for name in ["all", *family_sets(TASKS, FAMILIES)]
        },
        map_name=MAP,
    message:
        "Adding up what the study has cost"
    script:
        "../scripts/summarise_costs.py"


rule plot_break_even:
    input:
        break_even="results/tables/break-even.parquet",
    output:
        figure_files(
            "break-even/{source}/{target}",
            "break-even",
            "What does it cost?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_break_even/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_break_even/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        methods=METHODS,
    message:
        "Drawing from when on {wildcards.source} to {wildcards.target} is cheaper"
    script:
        "../scripts/plot_break_even.py"
