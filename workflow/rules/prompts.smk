"""Text pairs of every task: drawn by a generator or read from a file."""


# Needs the network where the rows are on the hub.
localrules:
    write_prompts,


rule write_prompts:
    input:
        words=where_drawn(WORDS),
        facts=where_drawn(FACTS),
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
        entry=lambda w: config["tasks"][w.task],
        path=pairs_path,
        content=content_of(prompt_sources),
        code=code_of("write_prompts.py", unused=unused_readers),
    message:
        "Writing the prompts of {wildcards.task}"
    script:
        "../scripts/write_prompts.py"
