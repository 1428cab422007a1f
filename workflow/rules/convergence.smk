"""Convergence: do node scores still change when gradients are integrated in more steps?"""


rule compare_steps:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
    output:
        scores=path("convergence"),
        cost=job("compare_steps").cost,
    log:
        job("compare_steps").log,
    benchmark:
        job("compare_steps").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("compare_steps", "model"),
    params:
        settings=comparison_settings(config),
        state=placed(job("compare_steps").state),
    message:
        "Comparing numbers of steps: {wildcards.model} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/compare_steps.py"


rule summarise_convergence:
    input:
        scores=study.every(path("convergence"), method=study.compared_methods),
    output:
        table("convergence"),
    log:
        job("summarise_convergence").log,
    benchmark:
        job("summarise_convergence").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Tabulating the convergence of the scores"
    script:
        "../scripts/summarise_convergence.py"


rule plot_convergence:
    input:
        scores=paths("convergence", method=study.compared_methods, task=study.tasks),
    output:
        figure("convergence"),
    log:
        job("plot_convergence").log,
    benchmark:
        job("plot_convergence").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        methods=study.compared_methods,
        configured=config["attribution"]["ig_steps"],
    message:
        "Drawing the convergence of the scores of {wildcards.model}"
    script:
        "../scripts/plot_convergence.py"


rule convergence:
    input:
        results_of(study, "convergence"),
