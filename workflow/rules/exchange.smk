"""Circuits to and from the format of the MIB benchmark's circuit track."""


rule export_mib:
    input:
        model="results/models/{model}/model.json",
        scores="results/scores/{model}/{task}/{method}.safetensors",
    output:
        importances="results/mib/{method}/{task}_{model}/importances.json",
        tensors="results/mib/{method}/{task}_{model}/importances.safetensors",
    log:
        "results/logs/export_mib/{model}/{task}/{method}.log",
    benchmark:
        "results/benchmarks/export_mib/{model}/{task}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Exporting scores of {wildcards.model} on {wildcards.task} by {wildcards.method} for MIB"
    script:
        "../scripts/export_mib.py"


rule mib:
    input:
        expand(
            "results/mib/{method}/{task}_{model}/importances.json",
            method=METHODS,
            task=TASKS,
            model=MODELS,
        ),


rule evaluate_imported:
    input:
        model="results/models/{target}/model.json",
        weights=weights("target"),
        pairs="results/pairs/{target}/{task}.parquet",
        importances=lambda w: at_hand(CIRCUITS[w.circuit]["importances"]),
    output:
        faithfulness="results/faithfulness/imported/{target}/{task}/{circuit}.parquet",
        cost="results/costs/evaluate_imported/{target}/{task}/{circuit}.json",
    log:
        "results/logs/evaluate_imported/{target}/{task}/{circuit}.log",
    benchmark:
        "results/benchmarks/evaluate_imported/{target}/{task}/{circuit}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_imported", "model"),
    params:
        settings=EVALUATION,
        state="results/resume/evaluate_imported/{target}/{task}/{circuit}",
    message:
        "Evaluating the imported {wildcards.circuit} of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_imported.py"
