"""What the study has cost, and from how many tasks on a transfer is cheaper."""

COSTLY_JOBS = study.costly_jobs()


rule summarise_costs:
    input:
        costs=[each.cost for each in COSTLY_JOBS],
        benchmarks=[each.benchmark for each in COSTLY_JOBS],
        models=study.every(path("model")),
        weights=origins.weights(*study.models),
    output:
        costs_table=table("costs"),
        break_even=path("break-even"),
        # Without transfers there is nothing to compare the cost with.
        break_even_table=table("break-even") if study.transfers else [],
    log:
        job("summarise_costs").log,
    benchmark:
        job("summarise_costs").benchmark
    group:
        "summaries"
    conda:
        "../../envs/torch.yaml"
    params:
        jobs=[each.name for each in COSTLY_JOBS],
        training=study.break_even_sets(),
        maps=study.maps_by_method(),
        correspondence=study.correspondence,
    message:
        "Adding up the costs of the study"
    script:
        "../scripts/summarise_costs.py"


rule plot_break_even:
    input:
        break_even=path("break-even"),
    output:
        figure("break-even"),
    log:
        job("plot_break_even").log,
    benchmark:
        job("plot_break_even").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        methods=study.transferred_methods,
    message:
        "Drawing the break-even of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_break_even.py"
