"""How fast the library is: time and memory beside bare passes of the same model."""

BENCHMARKED = {
    name: [entry["model"]] if "model" in entry else []
    for name, entry in config["benchmark"].items()
}
GROWING = [name for name, entry in config["benchmark"].items() if entry["scaling"]]
# What the measured computations are made of.
MEASURED = library_digest(
    "benchmarking",
    "ablations",
    "architectures",
    "attribution",
    "batches",
    "faithfulness",
    "interventions",
    "nodes",
    "objectives",
)
BENCHMARK = library_digest("benchmarking", "figures", "tables")
BENCHMARK_RESULTS = [
    *(["results/tables/benchmark.csv"] if BENCHMARKED else []),
    *expand("results/figures/benchmark/{benchmark}.png", benchmark=BENCHMARKED),
    *expand("results/figures/benchmark-scaling/{benchmark}.png", benchmark=GROWING),
]


wildcard_constraints:
    benchmark=any_of(BENCHMARKED),


rule measure_benchmark:
    input:
        model=lambda w: expand(
            "results/models/{model}/model.json", model=BENCHMARKED[w.benchmark]
        ),
        weights=lambda w: [
            file
            for model in BENCHMARKED[w.benchmark]
            for file in checkpoint_files(model)
        ],
    output:
        measured="results/measurements/{benchmark}/ratios.parquet",
    log:
        "results/logs/measure_benchmark/{benchmark}.log",
    benchmark:
        "results/benchmarks/measure_benchmark/{benchmark}.tsv"
    conda:
        "../../envs/torch.yaml"
    # It computes on one core; the others stay idle, so that nothing slows it down.
    threads: workflow.cores
    params:
        entry=lambda w: in_order(config["benchmark"][w.benchmark]),
        proportions=config["evaluation"]["proportions"],
        library=MEASURED,
    message:
        "Measuring {wildcards.benchmark} beside bare passes"
    script:
        "../scripts/measure_benchmark.py"


rule measure_scaling:
    input:
        model=lambda w: expand(
            "results/models/{model}/model.json", model=BENCHMARKED[w.benchmark]
        ),
        weights=lambda w: [
            file
            for model in BENCHMARKED[w.benchmark]
            for file in checkpoint_files(model)
        ],
    output:
        measured="results/measurements/{benchmark}/scaling.parquet",
    log:
        "results/logs/measure_scaling/{benchmark}.log",
    benchmark:
        "results/benchmarks/measure_scaling/{benchmark}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: workflow.cores
    params:
        entry=lambda w: in_order(config["benchmark"][w.benchmark]),
        proportions=config["evaluation"]["proportions"],
        library=MEASURED,
    message:
        "Measuring how {wildcards.benchmark} grows"
    script:
        "../scripts/measure_scaling.py"


rule summarise_benchmark:
    input:
        measured=expand(
            "results/measurements/{benchmark}/ratios.parquet", benchmark=BENCHMARKED
        ),
        scaling=expand(
            "results/measurements/{benchmark}/scaling.parquet", benchmark=GROWING
        ),
    output:
        ratios=table_files("benchmark", "benchmark", "How fast is it?"),
        slopes=table_files("benchmark-scaling", "benchmark-scaling", "How fast is it?"),
    log:
        "results/logs/summarise_benchmark.log",
    benchmark:
        "results/benchmarks/summarise_benchmark.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        library=BENCHMARK,
    message:
        "Tabulating how fast everything is"
    script:
        "../scripts/summarise_benchmark.py"


rule plot_benchmark:
    input:
        measured="results/measurements/{benchmark}/ratios.parquet",
    output:
        figure_files(
            "benchmark/{benchmark}",
            "benchmark",
            "How fast is it?",
            benchmark="{benchmark}",
        ),
    log:
        "results/logs/plot_benchmark/{benchmark}.log",
    benchmark:
        "results/benchmarks/plot_benchmark/{benchmark}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        library=BENCHMARK,
    message:
        "Drawing how fast {wildcards.benchmark} is"
    script:
        "../scripts/plot_benchmark.py"


rule plot_benchmark_scaling:
    input:
        measured="results/measurements/{benchmark}/scaling.parquet",
    output:
        figure_files(
            "benchmark-scaling/{benchmark}",
            "benchmark-scaling",
            "How fast is it?",
            benchmark="{benchmark}",
        ),
    log:
        "results/logs/plot_benchmark_scaling/{benchmark}.log",
    benchmark:
        "results/benchmarks/plot_benchmark_scaling/{benchmark}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        library=BENCHMARK,
    message:
        "Drawing how {wildcards.benchmark} grows"
    script:
        "../scripts/plot_benchmark_scaling.py"


rule benchmark:
    input:
        BENCHMARK_RESULTS,
    message:
        "It is known how fast everything is"
