"""How faithful circuits are on the target: gold, random, aligned and controls."""


rule evaluate_gold:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        scores=path("scores", model="{target}"),
    output:
        faithfulness=path("gold"),
        cost=job("evaluate_gold").cost,
    log:
        job("evaluate_gold").log,
    benchmark:
        job("evaluate_gold").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_gold", "model"),
    params:
        settings=evaluation_settings(config),
        state=placed(job("evaluate_gold").state),
    message:
        "Evaluating gold circuits of {wildcards.target} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/evaluate_gold.py"


rule evaluate_random:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
    output:
        faithfulness=path("random"),
        cost=job("evaluate_random").cost,
    log:
        job("evaluate_random").log,
    benchmark:
        job("evaluate_random").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_random", "model"),
    params:
        rankings=config["evaluation"]["random_rankings"],
        settings=evaluation_settings(config),
        state=placed(job("evaluate_random").state),
    message:
        "Evaluating random circuits of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_random.py"


rule evaluate_aligned:
    input:
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        scores=lambda w: paths(
            "scores", model=w.source, task=study.tasks, method=w.method
        ),
        gold=lambda w: paths(
            "scores", model=w.target, task=study.tasks, method=w.method
        ),
        alignments=study.evaluated_alignments,
        masks=study.free_masks,
        stitched=study.stitched_alignment,
        carried=study.carried_gradients,
    output:
        faithfulness=path("aligned"),
        projections=path("projections"),
        cost=job("evaluate_aligned").cost,
    log:
        job("evaluate_aligned").log,
    benchmark:
        job("evaluate_aligned").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_aligned", "target"),
    params:
        settings=evaluation_settings(config),
        tasks=study.tasks,
        families=study.families,
        controls=study.controls,
        state=placed(job("evaluate_aligned").state),
    message:
        "Evaluating {wildcards.source} circuits on {wildcards.target}, {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/evaluate_aligned.py"
