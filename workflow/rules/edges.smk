"""Scores of edges, and how faithful circuits of edges are."""


rule attribute_edges:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
    output:
        scores=path("edge-scores"),
        cost=job("attribute_edges").cost,
    log:
        job("attribute_edges").log,
    benchmark:
        job("attribute_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("attribute_edges", "model"),
    params:
        settings=lambda w: edge_attribution_settings(config, w.edge_method),
        state=placed(job("attribute_edges").state),
    message:
        "Scoring the edges of {wildcards.model} on {wildcards.task} by {wildcards.edge_method}"
    script:
        "../scripts/attribute_edges.py"


rule verify_edges:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
        scores=path("edge-scores"),
    output:
        verified=path("verified"),
        cost=job("verify_edges").cost,
    log:
        job("verify_edges").log,
    benchmark:
        job("verify_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("verify_edges", "model"),
    params:
        kv=config["attribution"]["kv"],
        settings=verifying_settings(config),
        state=placed(job("verify_edges").state),
    message:
        "Ablating edges of {wildcards.model} on {wildcards.task} that {wildcards.edge_method} scores highest"
    script:
        "../scripts/verify_edges.py"


rule evaluate_edges:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        scores=path("edge-scores", model="{target}"),
    output:
        faithfulness=path("edge-faithfulness"),
        cost=job("evaluate_edges").cost,
    log:
        job("evaluate_edges").log,
    benchmark:
        job("evaluate_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_edges", "model"),
    params:
        kv=config["attribution"]["kv"],
        settings=evaluation_settings(config),
        state=placed(job("evaluate_edges").state),
    message:
        "Evaluating circuits of edges of {wildcards.target} on {wildcards.task} by {wildcards.edge_method}"
    script:
        "../scripts/evaluate_edges.py"


rule evaluate_random_edges:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
    output:
        faithfulness=path("random-edges"),
        cost=job("evaluate_random_edges").cost,
    log:
        job("evaluate_random_edges").log,
    benchmark:
        job("evaluate_random_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_random_edges", "model"),
    params:
        rankings=config["evaluation"]["random_rankings"],
        kv=config["attribution"]["kv"],
        settings=evaluation_settings(config),
        state=placed(job("evaluate_random_edges").state),
    message:
        "Evaluating random circuits of edges of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_random_edges.py"


rule evaluate_lifted:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        scores=path("scores", model="{target}"),
    output:
        faithfulness=path("lifted"),
        cost=job("evaluate_lifted").cost,
    log:
        job("evaluate_lifted").log,
    benchmark:
        job("evaluate_lifted").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_lifted", "model"),
    params:
        kv=config["attribution"]["kv"],
        settings=evaluation_settings(config),
        state=placed(job("evaluate_lifted").state),
    message:
        "Evaluating edges of {wildcards.target} on {wildcards.task}, ranked by nodes' {wildcards.method}"
    script:
        "../scripts/evaluate_lifted.py"
