"""Text pairs of every task: drawn by a generator or read from a file.

Train and test pairs are separate, so that what reads the one does not run again when
the number of the other changes; tables read both joined.
"""


rule write_prompts:
    input:
        words=lambda w: origins.words if origins.is_drawn(w.task) else [],
        facts=lambda w: origins.facts if origins.is_drawn(w.task) else [],
        files=lambda w: origins.pair_files(w.task),
    output:
        prompts=path("split-prompts"),
        rejects=path("split-prompts-rejects"),
    log:
        job("write_prompts").log,
    benchmark:
        job("write_prompts").benchmark
    priority: FIRST
    # Needs the network where the rows are on the hub.
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        entry=lambda w: split_entry(config, w.task, w.split),
        path=lambda w: origins.pairs_path(w.task),
        content=lambda w: files_digest(origins.prompt_sources(w.task)),
        code=lambda w: code_digest(
            SCRIPTS / "write_prompts.py", origins.unused_readers(w.task)
        ),
    message:
        "Writing the {wildcards.split} prompts of {wildcards.task}"
    script:
        "../scripts/write_prompts.py"


rule join_prompts:
    input:
        split_prompts=paths("split-prompts", split=SPLITS),
        split_rejects=paths("split-prompts-rejects", split=SPLITS),
    output:
        prompts=path("prompts"),
        rejects=path("prompts-rejects"),
    log:
        job("join_prompts").log,
    benchmark:
        job("join_prompts").benchmark
    localrule: True
    conda:
        "../../envs/figures.yaml"
    message:
        "Joining the prompts of {wildcards.task}"
    script:
        "../scripts/join_prompts.py"
