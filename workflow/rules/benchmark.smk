"""How fast the library is: time and memory relative to bare passes of the same model."""


rule measure_benchmark:
    input:
        model=lambda w: paths("model", model=study.benchmarked_models(w)),
        weights=lambda w: origins.weights(*study.benchmarked_models(w)),
    output:
        measured=path("ratios"),
    log:
        job("measure_benchmark").log,
    benchmark:
        job("measure_benchmark").benchmark
    conda:
        "../../envs/torch.yaml"
    # It computes on one core; the others stay idle, so that nothing slows it down.
    threads: lambda w: workflow.cores
    resources:
        gpu=1,
        # Its models are the user's own; the shapes that ship need a small part of it.
        mem_mb=lambda w, attempt: 32000 * attempt,
        runtime=lambda w, attempt: 120 * attempt,
    params:
        **study.selected("proportions"),
        entry=lambda w: config["benchmark"][w.benchmark],
    message:
        "Measuring {wildcards.benchmark} relative to bare passes"
    script:
        "../scripts/measure_benchmark.py"


rule measure_scaling:
    input:
        model=lambda w: paths("model", model=study.benchmarked_models(w)),
        weights=lambda w: origins.weights(*study.benchmarked_models(w)),
    output:
        measured=path("scaling"),
    log:
        job("measure_scaling").log,
    benchmark:
        job("measure_scaling").benchmark
    conda:
        "../../envs/torch.yaml"
    threads: lambda w: workflow.cores
    resources:
        gpu=1,
        # Its models are the user's own; the shapes that ship need a small part of it.
        mem_mb=lambda w, attempt: 32000 * attempt,
        runtime=lambda w, attempt: 120 * attempt,
    params:
        **study.selected("proportions"),
        entry=lambda w: config["benchmark"][w.benchmark],
    message:
        "Measuring the scaling of {wildcards.benchmark}"
    script:
        "../scripts/measure_scaling.py"


rule summarise_benchmark:
    input:
        measured=study.every(path("ratios")),
        scaling=paths("scaling", benchmark=study.growing),
    output:
        ratios=table("benchmark"),
        slopes=table("benchmark-scaling"),
    log:
        job("summarise_benchmark").log,
    benchmark:
        job("summarise_benchmark").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Tabulating the benchmark"
    script:
        "../scripts/summarise_benchmark.py"


rule plot_benchmark:
    input:
        measured=path("ratios"),
    output:
        figure("benchmark"),
    log:
        job("plot_benchmark").log,
    benchmark:
        job("plot_benchmark").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the benchmark {wildcards.benchmark}"
    script:
        "../scripts/plot_benchmark.py"


rule plot_benchmark_scaling:
    input:
        measured=path("scaling"),
    output:
        figure("benchmark-scaling"),
    log:
        job("plot_benchmark_scaling").log,
    benchmark:
        job("plot_benchmark_scaling").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the scaling of {wildcards.benchmark}"
    script:
        "../scripts/plot_benchmark_scaling.py"


rule benchmark:
    input:
        [*results_of(study, "benchmark"), *results_of(study, "scaling")],
    message:
        "The benchmark is complete"
