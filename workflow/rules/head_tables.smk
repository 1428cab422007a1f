"""Which heads the circuits of every method still use."""


rule summarise_head_survival:
    input:
        model=path("model"),
        heads=paths("heads", task=study.tasks),
        edges=paths("edge-scores", task=study.tasks, edge_method=study.edge_methods),
        masks=paths(
            "edge-masks",
            task=study.tasks,
            learned_method=study.learned_methods,
            seed=study.seeds,
        ),
    output:
        survival=path("head-survival"),
        survival_table=table("head-survival"),
    log:
        job("summarise_head_survival").log,
    benchmark:
        job("summarise_head_survival").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "edge_methods", "learned_methods", "sizes"),
        kv=config["attribution"]["kv"],
    message:
        "Tabulating the heads that circuits of {wildcards.model} still use"
    script:
        "../scripts/summarise_head_survival.py"


rule plot_head_survival:
    input:
        survival=path("head-survival"),
    output:
        figure("head-survival"),
    log:
        job("plot_head_survival").log,
    benchmark:
        job("plot_head_survival").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "edge_methods", "learned_methods", "sizes"),
    message:
        "Drawing the heads that circuits of {wildcards.model} still use"
    script:
        "../scripts/plot_head_survival.py"
