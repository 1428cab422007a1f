"""Node scores: of the source to transfer, of the target as gold."""


rule attribute_nodes:
    input:
        model="results/models/{model}/model.json",
        weights=weights("model"),
        pairs="results/pairs/{model}/{task}.parquet",
    output:
        scores="results/scores/{model}/{task}/{method}.safetensors",
        cost="results/costs/attribute_nodes/{model}/{task}/{method}.json",
    log:
        "results/logs/attribute_nodes/{model}/{task}/{method}.log",
    benchmark:
        "results/benchmarks/attribute_nodes/{model}/{task}/{method}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("attribute_nodes", "model"),
    params:
        settings=attribution_settings,
        state="results/resume/attribute_nodes/{model}/{task}/{method}",
    message:
        "Scoring the nodes of {wildcards.model} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/attribute_nodes.py"
