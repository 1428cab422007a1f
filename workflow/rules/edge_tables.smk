"""Circuits of edges: tables, statistics and curves, and how similar their scores are."""


rule summarise_edges:
    input:
        **study.measured_edges(),
    output:
        cpr=path("edge-cpr"),
        statistics=path("edge-statistics"),
        curves=path("edge-curve-intervals"),
    log:
        job("summarise_edges").log,
    benchmark:
        job("summarise_edges").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Intervals and tests of every circuit of edges"
    script:
        "../scripts/summarise_edges.py"


rule summarise_edge_circuits:
    input:
        statistics=path("edge-statistics"),
    output:
        table("edges"),
    log:
        job("summarise_edge_circuits").log,
    benchmark:
        job("summarise_edge_circuits").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "edge_methods", "methods", "ablation"),
    message:
        "Tabulating circuits of edges of {wildcards.target}"
    script:
        "../scripts/summarise_edge_circuits.py"


rule correlate_edges:
    input:
        model=path("model"),
        edges=paths("edge-scores", task=study.tasks, edge_method=study.edge_methods),
        nodes=paths("scores", task=study.tasks, method=study.methods),
        verified=paths("verified", task=study.tasks, edge_method=study.verified_methods),
    output:
        table("edge-agreement"),
    log:
        job("correlate_edges").log,
    benchmark:
        job("correlate_edges").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "edge_methods", "methods", "proportions"),
    message:
        "Comparing the scores of edges of {wildcards.model}"
    script:
        "../scripts/correlate_edges.py"


rule resample_edges:
    input:
        model=path("model"),
        scores=paths("edge-scores", task=study.tasks, edge_method=study.edge_methods),
        # Beside circuits that are learned, all that are measured at their sizes.
        nodes=paths(
            "scores", task=study.tasks, method=study.methods * bool(study.sizes)
        ),
        masks=paths(
            "edge-masks",
            task=study.tasks,
            learned_method=study.learned_methods,
            seed=study.seeds,
        ),
        resampled=paths(
            "resampled-masks",
            task=study.tasks,
            learned_method=study.learned_methods,
            resample=study.resamples,
        ),
    output:
        table("edge-stability"),
    log:
        job("resample_edges").log,
    benchmark:
        job("resample_edges").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("proportions", "sizes"),
        kv=config["attribution"]["kv"],
    message:
        "Resampling the circuits of edges of {wildcards.model}"
    script:
        "../scripts/resample_edges.py"


rule plot_edge_curves:
    input:
        curves=path("edge-curve-intervals"),
    output:
        figure("edge-curves"),
    log:
        job("plot_edge_curves").log,
    benchmark:
        job("plot_edge_curves").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "methods", "ablation"),
    message:
        "Drawing the curves of edges of {wildcards.target} by {wildcards.edge_method}"
    script:
        "../scripts/plot_edge_curves.py"
