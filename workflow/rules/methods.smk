"""What all methods give at the sizes of learned circuits, and DiscoGP's weights."""


rule evaluate_at_sizes:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        edges=paths("edge-scores", model="{target}", edge_method=study.edge_methods),
        nodes=paths("scores", model="{target}", method=study.methods),
    output:
        faithfulness=path("sized-faithfulness"),
        cost=job("evaluate_at_sizes").cost,
    log:
        job("evaluate_at_sizes").log,
    benchmark:
        job("evaluate_at_sizes").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_at_sizes", "model"),
    params:
        **study.selected("sizes"),
        kv=config["attribution"]["kv"],
        settings=ablated_settings(config),
        state=placed(job("evaluate_at_sizes").state),
    message:
        "Evaluating circuits of edges of {wildcards.target} on {wildcards.task} at the sizes of learned ones"
    script:
        "../scripts/evaluate_at_sizes.py"


rule evaluate_weights:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        masks=paths(
            "edge-masks",
            model="{target}",
            learned_method=study.learned_methods,
            seed=study.seeds,
        ),
        edges=paths("edge-scores", model="{target}", edge_method=study.edge_methods),
    output:
        measures=path("weight-measures"),
        cost=job("evaluate_weights").cost,
    log:
        job("evaluate_weights").log,
    benchmark:
        job("evaluate_weights").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_weights", "model"),
    params:
        **study.selected("sizes"),
        kv=config["attribution"]["kv"],
        settings=ablated_settings(config),
        pruning=pruning_settings(config, "discogp"),
        state=placed(job("evaluate_weights").state),
    message:
        "Evaluating circuits of weights of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_weights.py"
