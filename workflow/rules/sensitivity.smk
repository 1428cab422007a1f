"""Sensitivity: the study of a pair again, with other values of one setting at a time."""


rule vary_setting:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        source_weights=lambda w: origins.weights(w.source),
        target_weights=lambda w: origins.weights(w.target),
        source_pairs=paths("pairs", model="{source}", task=study.tasks),
        target_pairs=paths("pairs", model="{target}", task=study.tasks),
    output:
        areas=path("sensitivity"),
        cost=job("vary_setting").cost,
    log:
        job("vary_setting").log,
    benchmark:
        job("vary_setting").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("vary_setting", "source", "target"),
    params:
        **study.selected("tasks", "siblings", "families"),
        values=lambda w: config["sensitivity"][w.setting],
        settings=varied_settings(config),
    message:
        "Varying {wildcards.setting}: {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/vary_setting.py"


rule plot_sensitivity:
    input:
        areas=path("sensitivity"),
    output:
        figure("sensitivity"),
    log:
        job("plot_sensitivity").log,
    benchmark:
        job("plot_sensitivity").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Drawing {wildcards.setting}: {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_sensitivity.py"


rule summarise_sensitivity:
    input:
        areas=study.every(path("sensitivity")),
    output:
        table("sensitivity"),
    log:
        job("summarise_sensitivity").log,
    benchmark:
        job("summarise_sensitivity").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Tabulating the effects of the settings"
    script:
        "../scripts/summarise_sensitivity.py"


rule summarise_training_families:
    input:
        areas=study.every(path("sensitivity"), setting=["training_families"]),
    output:
        table("training-families"),
    log:
        job("summarise_training_families").log,
    benchmark:
        job("summarise_training_families").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("families"),
    message:
        "Tabulating what maps owe to their source by number of training families"
    script:
        "../scripts/summarise_training_families.py"


rule plot_training_families:
    input:
        areas=study.every(path("sensitivity"), setting=["training_families"]),
    output:
        figure("training-families"),
    log:
        job("plot_training_families").log,
    benchmark:
        job("plot_training_families").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("families"),
    message:
        "Drawing what maps reach by number of training families"
    script:
        "../scripts/plot_training_families.py"


rule sensitivity:
    input:
        results_of(study, "sensitivity"),
        results_of(study, "training-families"),
