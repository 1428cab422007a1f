"""Node scores: of the source to transfer, of the target as gold."""


rule attribute_nodes:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
    output:
        scores=path("scores"),
        cost=job("attribute_nodes").cost,
    log:
        job("attribute_nodes").log,
    benchmark:
        job("attribute_nodes").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("attribute_nodes", "model"),
    params:
        settings=lambda w: attribution_settings(config, w.method),
        state=placed(job("attribute_nodes").state),
    message:
        "Scoring the nodes of {wildcards.model} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/attribute_nodes.py"
