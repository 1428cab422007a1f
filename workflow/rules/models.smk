"""Models: trained or downloaded or given, described, and every task tokenized."""


# The machine that starts the jobs has a network; those that run them may have none.
localrules:
    download_model,


rule train_model:
    input:
        words=WORDS,
        facts=FACTS,
    output:
        checkpoint=[
            f"results/models/{{model}}/checkpoint/{f}" for f in CHECKPOINT_FILES
        ],
        record="results/models/{model}/checkpoint/training.json",
    log:
        "results/logs/train_model/{model}.log",
    benchmark:
        "results/benchmarks/train_model/{model}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **training_resources(),
    params:
        entry=lambda w: config["models"][w.model].get("train"),
        content=content_of(lambda w: [WORDS, FACTS]),
        state="results/resume/train_model/{model}",
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train_model.py"


rule download_model:
    output:
        record="results/models/{model}/download.json",
    log:
        "results/logs/download_model/{model}.log",
    benchmark:
        "results/benchmarks/download_model/{model}.tsv"
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
        weights=weights("model"),
        record=model_record,
    output:
        model="results/models/{model}/model.json",
    log:
        "results/logs/describe_model/{model}.log",
    benchmark:
        "results/benchmarks/describe_model/{model}.tsv"
    priority: FIRST
    group:
        "tokens"
    conda:
        "../../envs/torch.yaml"
    params:
        checkpoint=lambda w: checkpoint(w.model),
        load=lambda w: load_options(w.model),
    message:
        "Describing {wildcards.model}"
    script:
        "../scripts/describe_model.py"


rule tokenize_pairs:
    input:
        prompts="results/prompts/{task}.parquet",
        prompt_rejects="results/prompts/{task}.rejects.parquet",
        model="results/models/{model}/model.json",
        weights=weights("model"),
    output:
        pairs="results/pairs/{model}/{task}.parquet",
        rejects="results/pairs/{model}/{task}.rejects.parquet",
    log:
        "results/logs/tokenize_pairs/{model}/{task}.log",
    benchmark:
        "results/benchmarks/tokenize_pairs/{model}/{task}.tsv"
    priority: FIRST
    group:
        "tokens"
    conda:
        "../../envs/torch.yaml"
    message:
        "Tokenizing {wildcards.task} for {wildcards.model}"
    script:
        "../scripts/tokenize_pairs.py"


rule models:
    input:
        expand(
            "results/models/{model}/model.json",
            model=[m for m in config["models"] if m in MODELS or not is_remote(m)],
        ),
    message:
        "Every model of the configuration is at hand"
