"""Which edges matter to a model: as tables, drawn as graphs, and as adjacency maps."""


rule summarise_top_edges:
    input:
        scores=paths("edge-scores", task=study.tasks, edge_method=study.edge_methods),
    output:
        table("top-edges"),
    log:
        job("summarise_top_edges").log,
    benchmark:
        job("summarise_top_edges").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "edge_methods"),
    message:
        "Tabulating the edges of {wildcards.model}"
    script:
        "../scripts/summarise_top_edges.py"


rule plot_edge_map:
    input:
        scores=paths("edge-scores", task=study.tasks),
    output:
        figure("edge-map"),
    log:
        job("plot_edge_map").log,
    benchmark:
        job("plot_edge_map").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Drawing the edges of {wildcards.model} by {wildcards.edge_method}"
    script:
        "../scripts/plot_edge_map.py"


rule plot_circuit:
    input:
        model=path("model"),
        scores=lambda w: drawn_scores(study, w),
    output:
        figure=figure("circuits"),
        table=figure_pattern("circuits", "csv"),
    log:
        job("plot_circuit").log,
    benchmark:
        job("plot_circuit").benchmark
    wildcard_constraints:
        **study.any_edge_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing {wildcards.n} edges of {wildcards.model} on {wildcards.task} by {wildcards.edge_method}"
    script:
        "../scripts/plot_circuit.py"
