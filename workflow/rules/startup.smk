"""How much of a finished study was spent on starting its jobs."""


# It has no benchmark: it would find its own, of another time.
rule summarise_startup:
    input:
        study_results(),
    output:
        table_files("startup", "startup", "What does it cost?"),
    log:
        "results/logs/summarise_startup.log",
    conda:
        "../../envs/figures.yaml"
    params:
        benchmarks="results/benchmarks",
        logs="results/logs",
    message:
        "Adding up how long the jobs took to start"
    script:
        "../scripts/summarise_startup.py"


rule startup:
    input:
        "results/tables/startup.csv",
    message:
        "It is known how long the jobs took to start"
