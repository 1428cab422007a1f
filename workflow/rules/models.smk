"""Models: trained here or given, described, and every task tokenized for them."""


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
    params:
        entry=lambda w: in_order(config["models"][w.model].get("train")),
        state="results/models/{model}/training-state",
        library=library_digest(
            "generators",
            "vocabulary",
            "curriculum",
            "embedded",
            "objective",
            "training",
            "training_state",
        ),
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train_model.py"


rule describe_model:
    input:
        weights=weights("model"),
        record=training_record,
    output:
        model="results/models/{model}/model.json",
    log:
        "results/logs/describe_model/{model}.log",
    benchmark:
        "results/benchmarks/describe_model/{model}.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        checkpoint=lambda w: checkpoint(w.model),
        dtype=lambda w: config["models"][w.model].get("dtype", "float32"),
        library=library_digest("models", "architectures", "nodes"),
    message:
        "Describing {wildcards.model}"
    script:
        "../scripts/describe_model.py"


rule tokenize_pairs:
    input:
        prompts="results/prompts/{task}.parquet",
        model="results/models/{model}/model.json",
        weights=weights("model"),
    output:
        pairs="results/pairs/{model}/{task}.parquet",
        rejects="results/pairs/{model}/{task}.rejects.parquet",
    log:
        "results/logs/tokenize_pairs/{model}/{task}.log",
    benchmark:
        "results/benchmarks/tokenize_pairs/{model}/{task}.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        library=library_digest("pairs"),
    message:
        "Tokenizing {wildcards.task} for {wildcards.model}"
    script:
        "../scripts/tokenize_pairs.py"


rule models:
    input:
        expand("results/models/{model}/model.json", model=config["models"]),
    message:
        "Every model of the configuration is at hand"
