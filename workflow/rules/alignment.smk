"""Alignments from source to target scores, and the mask that needs no source."""


rule fit_alignment:
    input:
        source="results/models/{source}/model.json",
        target="results/models/{target}/model.json",
        weights=weights("target"),
        scores=training_inputs("results/scores/{source}/{task}/{method}.safetensors"),
        pairs=training_inputs("results/pairs/{target}/{task}.parquet"),
        source_weights=where_nodes_are_compared(weights("source")),
        source_pairs=where_nodes_are_compared(
            training_inputs("results/pairs/{source}/{task}.parquet")
        ),
    output:
        cost="results/costs/fit_alignment/{source}/{target}/{method}/{training_set}.json",
        alignments=expand(
            "results/alignments/{source}/{target}/{method}/{training_set}/seed-{seed}.safetensors",
            seed=SEEDS,
            allow_missing=True,
        ),
    log:
        "results/logs/fit_alignment/{source}/{target}/{method}/{training_set}.log",
    benchmark:
        "results/benchmarks/fit_alignment/{source}/{target}/{method}/{training_set}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("fit_alignment", "source", "target"),
    params:
        tasks=lambda w: training_tasks(w.training_set, TASKS, FAMILIES),
        seeds=SEEDS,
        maps=maps_of,
        transform=config["alignment"]["transform"],
        prior={
            key: config["alignment"]["prior"][key]
            for key in ["depth_width", "temperature"]
        },
        controls=lambda w: trained_controls(w.training_set, CONTROLS),
        settings=fit_settings(),
        pairs=pairs_settings("alignment"),
        state="results/resume/fit_alignment/{source}/{target}/{method}/{training_set}",
    message:
        "Aligning {wildcards.source} to {wildcards.target} by {wildcards.method} on {wildcards.training_set}"
    script:
        "../scripts/fit_alignment.py"


rule fit_free_mask:
    input:
        target="results/models/{target}/model.json",
        weights=weights("target"),
        pairs="results/pairs/{target}/{task}.parquet",
    output:
        cost="results/costs/fit_free_mask/{target}/{task}.json",
        masks=expand(
            "results/masks/{target}/{task}/seed-{seed}.safetensors",
            seed=SEEDS,
            allow_missing=True,
        ),
    log:
        "results/logs/fit_free_mask/{target}/{task}.log",
    benchmark:
        "results/benchmarks/fit_free_mask/{target}/{task}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("fit_free_mask", "target"),
    params:
        seeds=SEEDS,
        settings=fit_settings(),
        pairs=pairs_settings("alignment"),
        state="results/resume/fit_free_mask/{target}/{task}",
    message:
        "Training a free mask on {wildcards.target} for {wildcards.task}"
    script:
        "../scripts/fit_free_mask.py"
