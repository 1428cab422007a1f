"""Text pairs of every task: drawn by a generator or read from a file."""


rule write_prompts:
    input:
        words=WORDS,
        facts=FACTS,
        file=pairs_file,
    output:
        prompts="results/prompts/{task}.parquet",
    log:
        "results/logs/write_prompts/{task}.log",
    benchmark:
        "results/benchmarks/write_prompts/{task}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        entry=lambda w: in_order(config["tasks"][w.task]),
        library=library_digest("generators", "importers"),
    message:
        "Writing the prompts of {wildcards.task}"
    script:
        "../scripts/write_prompts.py"
