"""Alignments from source to target scores, and the mask that needs no source."""


rule fit_alignment:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        scores=lambda w: study.training_paths(
            w, "scores", model=w.source, method=w.method
        ),
        pairs=lambda w: study.training_paths(
            w, "split-pairs", model=w.target, split="train"
        ),
        source_weights=lambda w: study.if_compared(w, origins.weights(w.source)),
        source_pairs=lambda w: study.if_compared(
            w, study.training_paths(w, "split-pairs", model=w.source, split="train")
        ),
    output:
        cost=job("fit_alignment").cost,
        alignments=paths("alignment", seed=study.seeds),
    log:
        job("fit_alignment").log,
    benchmark:
        job("fit_alignment").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("fit_alignment", "source", "target"),
    params:
        tasks=study.training_tasks,
        seeds=study.seeds,
        maps=study.fitted_maps,
        transform=config["alignment"]["transform"],
        prior=prior_settings(config),
        controls=study.trained_controls,
        settings=fit_settings(config),
        pairs=pairs_settings(config, "alignment"),
        state=placed(job("fit_alignment").state),
    message:
        "Aligning {wildcards.source} to {wildcards.target} by {wildcards.method} on {wildcards.training_set}"
    script:
        "../scripts/fit_alignment.py"


rule fit_free_mask:
    input:
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="train"),
    output:
        cost=job("fit_free_mask").cost,
        masks=paths("mask", seed=study.seeds),
    log:
        job("fit_free_mask").log,
    benchmark:
        job("fit_free_mask").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("fit_free_mask", "target"),
    params:
        seeds=study.seeds,
        settings=fit_settings(config),
        pairs=pairs_settings(config, "alignment"),
        state=placed(job("fit_free_mask").state),
    message:
        "Training a free mask on {wildcards.target} for {wildcards.task}"
    script:
        "../scripts/fit_free_mask.py"
