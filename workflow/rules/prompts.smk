"""Text pairs of every task: drawn by a generator or read from a file."""


# Needs the network where the rows are on the hub.
localrules:
    write_prompts,


rule write_prompts:
    input:
        words=WORDS,
        facts=FACTS,
        files=pair_files,
    output:
        prompts="results/prompts/{task}.parquet",
        rejects="results/prompts/{task}.rejects.parquet",
    log:
        "results/logs/write_prompts/{task}.log",
    benchmark:
        "results/benchmarks/write_prompts/{task}.tsv"
    priority: FIRST
    conda:
        "../../envs/figures.yaml"
    params:
        entry=lambda w: in_order(config["tasks"][w.task]),
        path=pairs_path,
        library=lambda w: library_digest(
            "generators",
            "importers",
            "prompts",
            *(["hub"] if "hub" in config["tasks"][w.task] else []),
        ),
    message:
        "Writing the prompts of {wildcards.task}"
    script:
        "../scripts/write_prompts.py"
