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


rule sensitivity:
    input:
        results_of(study, "sensitivity"),
