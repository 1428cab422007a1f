"""What the circuits and the alignments look like, drawn from them."""


rule plot_task_correlation:
    input:
        scores=paths("scores", task=study.tasks, method=study.methods),
    output:
        tables=table("task-correlation"),
        figures=figure("task-correlation"),
    log:
        job("plot_task_correlation").log,
    benchmark:
        job("plot_task_correlation").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("methods", "tasks"),
    message:
        "Drawing the correlation of tasks in {wildcards.model}"
    script:
        "../scripts/plot_task_correlation.py"


rule plot_node_map:
    input:
        source=paths("scores", model="{source}", task=study.tasks),
        gold=paths("scores", model="{target}", task=study.tasks),
        alignments=paths(
            "alignment", training_set=study.partial_sets, seed=study.seeds[:1]
        ),
    output:
        figure("node-map"),
    log:
        job("plot_node_map").log,
    benchmark:
        job("plot_node_map").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Drawing the nodes of {wildcards.source} and {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_node_map.py"


rule plot_alignment_matrix:
    input:
        alignment=path("alignment", training_set="all", seed=study.seeds[0]),
    output:
        figure("alignment-matrix"),
    log:
        job("plot_alignment_matrix").log,
    benchmark:
        job("plot_alignment_matrix").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the alignment of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_alignment_matrix.py"


rule plot_losses:
    input:
        alignments=study.fits,
    output:
        figure("losses"),
    log:
        job("plot_losses").log,
    benchmark:
        job("plot_losses").benchmark
    wildcard_constraints:
        **study.any_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the losses of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_losses.py"


rule summarise_gold:
    input:
        statistics=path("statistics"),
        gold=paths("gold", task=study.tasks, method=study.methods),
        scores=paths("scores", model="{target}", task=study.tasks, method=study.methods),
    output:
        table("gold"),
    log:
        job("summarise_gold").log,
    benchmark:
        job("summarise_gold").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "methods", "ablation"),
    message:
        "Tabulating the circuits of {wildcards.target}"
    script:
        "../scripts/summarise_gold.py"
