"""Models: trained or downloaded or given, described, and every task tokenized."""


rule train_model:
    input:
        words=origins.words,
        facts=origins.facts,
        parent_weights=lambda w: origins.weights(*origins.parent(w.model)),
        parent_record=lambda w: origins.records(origins.parent(w.model)),
        teacher_weights=lambda w: origins.weights(*origins.teacher(w.model)),
        teacher_record=lambda w: origins.records(origins.teacher(w.model)),
    output:
        checkpoint=paths("checkpoint", file=CHECKPOINT_FILES),
        record=path("checkpoint", file="training.json"),
    log:
        job("train_model").log,
    benchmark:
        job("train_model").benchmark
    wildcard_constraints:
        model=origins.made_by("train"),
    conda:
        "../../envs/torch.yaml"
    resources:
        **training_resources(),
    params:
        entry=lambda w: config["models"][w.model].get("train"),
        parent=lambda w: origins.named_checkpoint(origins.parent(w.model)),
        teacher=lambda w: origins.named_checkpoint(origins.teacher(w.model)),
        code=lambda w: code_digest(
            SCRIPTS / "train_model.py", origins.unused_trainers(w.model)
        ),
        content=lambda w: files_digest([origins.words, origins.facts]),
        state=placed(job("train_model").state),
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train_model.py"


rule download_model:
    output:
        record=path("download"),
    log:
        job("download_model").log,
    benchmark:
        job("download_model").benchmark
    # The machine that starts the jobs has a network; those that run them may have none.
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        repository=lambda w: config["models"][w.model]["hub"],
        revision=lambda w: config["models"][w.model].get("revision", "main"),
    message:
        "Downloading {wildcards.model}"
    script:
        "../scripts/download_model.py"


rule describe_model:
    input:
        weights=lambda w: origins.weights(w.model),
        record=lambda w: origins.record(w.model),
    output:
        model=path("model"),
    log:
        job("describe_model").log,
    benchmark:
        job("describe_model").benchmark
    priority: FIRST
    group:
        "tokens"
    conda:
        "../../envs/torch.yaml"
    params:
        checkpoint=lambda w: origins.checkpoint(w.model),
        load=lambda w: origins.load_options(w.model),
    message:
        "Describing {wildcards.model}"
    script:
        "../scripts/describe_model.py"


rule tokenize_pairs:
    input:
        prompts=path("split-prompts"),
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
    output:
        pairs=path("split-pairs"),
        rejects=path("split-pairs-rejects"),
    log:
        job("tokenize_pairs").log,
    benchmark:
        job("tokenize_pairs").benchmark
    priority: FIRST
    group:
        "tokens"
    conda:
        "../../envs/torch.yaml"
    message:
        "Tokenizing the {wildcards.split} pairs of {wildcards.task} for {wildcards.model}"
    script:
        "../scripts/tokenize_pairs.py"


rule join_pairs:
    input:
        prompts=path("prompts"),
        prompt_rejects=path("prompts-rejects"),
        split_pairs=paths("split-pairs", split=SPLITS),
        split_rejects=paths("split-pairs-rejects", split=SPLITS),
    output:
        pairs=path("pairs"),
        rejects=path("pairs-rejects"),
    log:
        job("join_pairs").log,
    benchmark:
        job("join_pairs").benchmark
    group:
        "tokens"
    conda:
        "../../envs/figures.yaml"
    message:
        "Joining the pairs of {wildcards.task} for {wildcards.model}"
    script:
        "../scripts/join_pairs.py"


rule models:
    input:
        paths("model", model=origins.available(study.models)),
    message:
        "Every model of the configuration is available"
