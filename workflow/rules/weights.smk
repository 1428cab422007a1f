"""Circuits of single weights and edges (DiscoGP), beside those of other methods."""


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
    message:
        "Evaluating circuits of weights of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_weights.py"


rule summarise_weights:
    input:
        measures=paths("weight-measures", task=study.tasks),
    output:
        table("weights"),
    log:
        job("summarise_weights").log,
    benchmark:
        job("summarise_weights").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks"),
    message:
        "Tabulating circuits of weights of {wildcards.target}"
    script:
        "../scripts/summarise_weights.py"
