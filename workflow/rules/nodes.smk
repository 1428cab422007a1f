"""Which nodes matter to a model: its own scores, as a table and drawn."""


rule summarise_top_nodes:
    input:
        scores=paths("scores", task=study.tasks, method=study.methods),
    output:
        table("top-nodes"),
    log:
        job("summarise_top_nodes").log,
    benchmark:
        job("summarise_top_nodes").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "methods"),
    message:
        "Tabulating the nodes of {wildcards.model}"
    script:
        "../scripts/summarise_top_nodes.py"


rule plot_gold_node_map:
    input:
        scores=paths("scores", model="{target}", task=study.tasks),
    output:
        figure("gold-node-map"),
    log:
        job("plot_gold_node_map").log,
    benchmark:
        job("plot_gold_node_map").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Drawing the nodes of {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_gold_node_map.py"
