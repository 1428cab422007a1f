"""Text pairs of every task: drawn by a generator or read from a file."""


# Needs the network where the rows are on the hub.
localrules:
    write_prompts,


rule write_prompts:
    input:
        words=lambda w: origins.words if origins.is_drawn(w.task) else [],
        facts=lambda w: origins.facts if origins.is_drawn(w.task) else [],
        files=lambda w: origins.pair_files(w.task),
    output:
        prompts=path("prompts"),
        rejects=path("prompts-rejects"),
    log:
        job("write_prompts").log,
    benchmark:
        job("write_prompts").benchmark
    priority: FIRST
    conda:
        "../../envs/figures.yaml"
    params:
        entry=lambda w: config["tasks"][w.task],
        path=lambda w: origins.pairs_path(w.task),
        content=lambda w: files_digest(origins.prompt_sources(w.task)),
        code=lambda w: code_digest(
            SCRIPTS / "write_prompts.py", origins.unused_readers(w.task)
        ),
    message:
        "Writing the prompts of {wildcards.task}"
    script:
        "../scripts/write_prompts.py"
