"""How much of a finished study was spent on starting its jobs."""


# It has no benchmark: it would find its own, of another time.
rule summarise_startup:
    input:
        results(study),
    output:
        table("startup"),
    log:
        job("summarise_startup").log,
    conda:
        "../../envs/figures.yaml"
    params:
        benchmarks=placed(BENCHMARKS),
        logs=placed(LOGS),
    message:
        "Adding up the start-up times of the jobs"
    script:
        "../scripts/summarise_startup.py"


rule startup:
    input:
        results_of(study, "startup"),
    message:
        "The start-up times are complete"
