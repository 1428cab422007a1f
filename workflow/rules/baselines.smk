"""What whole models do on the tasks, before any circuit is found."""


rule measure_baseline:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="test"),
    output:
        baseline=path("baseline"),
        cost=job("measure_baseline").cost,
    log:
        job("measure_baseline").log,
    benchmark:
        job("measure_baseline").benchmark
    priority: FIRST
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("measure_baseline", "model"),
    params:
        settings=pairs_settings(config, "evaluation"),
    message:
        "Measuring {wildcards.model} on {wildcards.task}"
    script:
        "../scripts/measure_baseline.py"


rule summarise_models:
    input:
        models=study.every(path("model")),
        baselines=study.every(path("baseline")),
        pairs=study.every(path("pairs")),
        rejects=study.every(path("pairs-rejects")),
    output:
        models_table=table("models"),
        rejects_table=table("rejects"),
        rejects_summary=table("rejects-summary"),
    log:
        job("summarise_models").log,
    benchmark:
        job("summarise_models").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        models=study.models,
        cells=[(model, task) for model in study.models for task in study.tasks],
    message:
        "Tabulating models and rejects"
    script:
        "../scripts/summarise_models.py"


rule preflight:
    input:
        models=table_pattern("models"),
        judged=table_pattern("models", "html"),
        reasons=table_pattern("rejects-summary"),
        rejects=table_pattern("rejects", "html"),
    message:
        "Which tasks are worth studying is printed at the end"
