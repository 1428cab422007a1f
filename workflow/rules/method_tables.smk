"""All methods of nodes and edges side by side, where a study learns circuits."""

FINDING_JOBS = study.finding_jobs("{target}")


rule summarise_methods:
    input:
        circuits=paths(
            "learned-faithfulness",
            task=study.tasks,
            learned_method=study.learned_methods,
        )
        + paths("sized-faithfulness", task=study.tasks),
        areas=path("edge-cpr"),
        stability=filled(table_pattern("edge-stability"), {"model": "{target}"}),
        costs=[each.cost for each in FINDING_JOBS],
    output:
        statistics=path("method-statistics"),
        methods_table=table("methods"),
        comparisons_table=table("method-tests"),
    log:
        job("summarise_methods").log,
    benchmark:
        job("summarise_methods").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "methods", "edge_methods", "learned_methods"),
        **study.selected("sizes", "filters", "ablation"),
        jobs=[each.name for each in FINDING_JOBS],
    message:
        "Comparing all methods on {wildcards.target}"
    script:
        "../scripts/summarise_methods.py"


rule plot_methods:
    input:
        statistics=path("method-statistics"),
    output:
        figure("methods"),
    log:
        job("plot_methods").log,
    benchmark:
        job("plot_methods").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("methods", "edge_methods", "learned_methods", "sizes"),
    message:
        "Drawing what all methods take on {wildcards.target}, and what they give"
    script:
        "../scripts/plot_methods.py"


rule plot_learning_curves:
    input:
        masks=paths(
            "edge-masks",
            task=study.tasks,
            learned_method=study.learned_methods,
            seed=study.seeds,
        ),
    output:
        figure("learning-curves"),
    log:
        job("plot_learning_curves").log,
    benchmark:
        job("plot_learning_curves").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the training of the circuits of {wildcards.model}"
    script:
        "../scripts/plot_learning_curves.py"


rule summarise_weights:
    input:
        measures=paths("weight-measures", task=study.tasks),
    output:
        table("weights"),
    log:
        job("summarise_weights").log,
    benchmark:
        job("summarise_weights").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Tabulating circuits of weights of {wildcards.target}"
    script:
        "../scripts/summarise_weights.py"
