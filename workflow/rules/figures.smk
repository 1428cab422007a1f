"""Figures of how faithful the transfer is, drawn from the tables."""


rule plot_curves_by_pair:
    input:
        curves=path("curve-intervals"),
        statistics=path("statistics"),
    output:
        figure("curves-by-pair"),
    log:
        job("plot_curves_by_pair").log,
    benchmark:
        job("plot_curves_by_pair").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("transfers", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Drawing the curves of every pair"
    script:
        "../scripts/plot_curves_by_pair.py"


rule plot_curves_by_task:
    input:
        curves=path("curve-intervals"),
        statistics=path("statistics"),
    output:
        figure("curves-by-task"),
    log:
        job("plot_curves_by_task").log,
    benchmark:
        job("plot_curves_by_task").benchmark
    wildcard_constraints:
        **study.any_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "ablation"),
        map_name=lambda w: study.maps_by_method()[w.method][0],
    message:
        "Drawing the curves of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_curves_by_task.py"


use rule plot_curves_by_task as plot_gold_curves_by_task with:
    output:
        figure("gold-curves-by-task"),
    log:
        job("plot_gold_curves_by_task").log,
    benchmark:
        job("plot_gold_curves_by_task").benchmark
    message:
        "Drawing the gold curves of {wildcards.target} by {wildcards.method}"


rule plot_recovery:
    input:
        statistics=path("statistics"),
    output:
        figure("recovery"),
    log:
        job("plot_recovery").log,
    benchmark:
        job("plot_recovery").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("transfers", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Drawing the recovery"
    script:
        "../scripts/plot_recovery.py"


rule plot_transfer_matrix:
    input:
        cpr=path("cpr"),
    output:
        figure("transfer-matrix"),
    log:
        job("plot_transfer_matrix").log,
    benchmark:
        job("plot_transfer_matrix").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "families", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Drawing the transfer matrix of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_transfer_matrix.py"


rule plot_completeness:
    input:
        curves=path("curves"),
    output:
        figure("completeness"),
    log:
        job("plot_completeness").log,
    benchmark:
        job("plot_completeness").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("families", "ablation"),
        maps=study.maps_by_method(),
    message:
        "Drawing the completeness of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_completeness.py"
