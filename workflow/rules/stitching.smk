"""Maps from source to target by regression on what both models do on a task's prompts."""


rule stitch_alignment:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.source, w.target),
        source_pairs=path("split-pairs", model="{source}", split="train"),
        target_pairs=path("split-pairs", model="{target}", split="train"),
    output:
        alignment=path("stitched"),
        cost=job("stitch_alignment").cost,
    log:
        job("stitch_alignment").log,
    benchmark:
        job("stitch_alignment").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("stitch_alignment", "source", "target"),
    params:
        pairs=pairs_settings(config, "attribution"),
    message:
        "Stitching {wildcards.source} and {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/stitch_alignment.py"


rule carry_gradients:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.source, w.target),
        source_pairs=path("split-pairs", model="{source}", split="train"),
        target_pairs=path("split-pairs", model="{target}", split="train"),
        others=lambda w: paths(
            "split-pairs",
            model=w.source,
            split="train",
            task=study.tasks_of_other_families(w),
        ),
    output:
        scores=path("carried"),
        cost=job("carry_gradients").cost,
    log:
        job("carry_gradients").log,
    benchmark:
        job("carry_gradients").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("carry_gradients", "source", "target"),
    params:
        others=study.tasks_of_other_families,
        steps=lambda w: integration_steps(config, w.method),
        pairs=pairs_settings(config, "attribution"),
        seeds=study.seeds,
    message:
        "Mapping gradients of {wildcards.source} to {wildcards.target} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/carry_gradients.py"
