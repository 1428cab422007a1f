"""What is carried over by stitching two models on a task's own prompts."""


rule stitch_alignment:
    input:
        source="results/models/{source}/model.json",
        target="results/models/{target}/model.json",
        weights=lambda w: [*weights("source")(w), *weights("target")(w)],
        source_pairs="results/pairs/{source}/{task}.parquet",
        target_pairs="results/pairs/{target}/{task}.parquet",
    output:
        alignment="results/stitched/{source}/{target}/{task}.safetensors",
        cost="results/costs/stitch_alignment/{source}/{target}/{task}.json",
    log:
        "results/logs/stitch_alignment/{source}/{target}/{task}.log",
    benchmark:
        "results/benchmarks/stitch_alignment/{source}/{target}/{task}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("stitch_alignment", "source", "target"),
    params:
        pairs=pairs_settings("attribution"),
    message:
        "Stitching {wildcards.source} and {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/stitch_alignment.py"


rule carry_gradients:
    input:
        source="results/models/{source}/model.json",
        target="results/models/{target}/model.json",
        weights=lambda w: [*weights("source")(w), *weights("target")(w)],
        source_pairs="results/pairs/{source}/{task}.parquet",
        target_pairs="results/pairs/{target}/{task}.parquet",
        others=lambda w: expand(
            "results/pairs/{source}/{task}.parquet",
            source=w.source,
            task=tasks_of_other_families(w),
        ),
    output:
        scores="results/carried/{source}/{target}/{task}/{method}.safetensors",
        cost="results/costs/carry_gradients/{source}/{target}/{task}/{method}.json",
    log:
        "results/logs/carry_gradients/{source}/{target}/{task}/{method}.log",
    benchmark:
        "results/benchmarks/carry_gradients/{source}/{target}/{task}/{method}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("carry_gradients", "source", "target"),
    params:
        others=tasks_of_other_families,
        steps=integration_steps,
        pairs=pairs_settings("attribution"),
        seeds=SEEDS,
    message:
        "Carrying gradients of {wildcards.source} to {wildcards.target} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/carry_gradients.py"
