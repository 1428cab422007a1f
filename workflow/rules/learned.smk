"""Circuits of edges that are learned, and how faithful they are."""


rule learn_edges:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
        filter=study.filter_scores,
    output:
        masks=paths("edge-masks", seed=study.seeds),
        cost=job("learn_edges").cost,
    log:
        job("learn_edges").log,
    benchmark:
        job("learn_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("learn_edges", "model"),
    params:
        seeds=study.seeds,
        kv=config["attribution"]["kv"],
        settings=lambda w: pruning_settings(config, w.learned_method),
        state=placed(job("learn_edges").state),
    message:
        "Learning circuits of edges of {wildcards.model} on {wildcards.task} by {wildcards.learned_method}"
    script:
        "../scripts/learn_edges.py"


rule learn_resampled:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
        filter=study.filter_scores,
    output:
        masks=path("resampled-masks"),
        cost=job("learn_resampled").cost,
    log:
        job("learn_resampled").log,
    benchmark:
        job("learn_resampled").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("learn_resampled", "model"),
    params:
        seeds=study.seeds[:1],
        kv=config["attribution"]["kv"],
        settings=lambda w: pruning_settings(config, w.learned_method),
        state=placed(job("learn_resampled").state),
    message:
        "Learning circuits of edges of {wildcards.model} on {wildcards.task} by {wildcards.learned_method}, resample {wildcards.resample}"
    script:
        "../scripts/learn_edges.py"


rule evaluate_learned:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        masks=paths("edge-masks", model="{target}", seed=study.seeds),
    output:
        faithfulness=path("learned-faithfulness"),
        cost=job("evaluate_learned").cost,
    log:
        job("evaluate_learned").log,
    benchmark:
        job("evaluate_learned").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_learned", "model"),
    params:
        kv=config["attribution"]["kv"],
        settings=evaluation_settings(config),
        state=placed(job("evaluate_learned").state),
    message:
        "Evaluating learned circuits of edges of {wildcards.target} on {wildcards.task} by {wildcards.learned_method}"
    script:
        "../scripts/evaluate_learned.py"


rule find_heads:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="test"),
    output:
        heads=path("heads"),
        cost=job("find_heads").cost,
    log:
        job("find_heads").log,
    benchmark:
        job("find_heads").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("find_heads", "model"),
    params:
        named=lambda w: config["evaluation"]["heads"].get(w.model, []),
        settings=heads_settings(config),
        state=placed(job("find_heads").state),
    message:
        "Ablating heads of {wildcards.model} on {wildcards.task}, alone and together"
    script:
        "../scripts/find_heads.py"


rule heads:
    input:
        study.every(path("heads")),
