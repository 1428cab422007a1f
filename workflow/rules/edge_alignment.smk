"""Maps from the edges of a source to those of a target, and how faithful they are."""


rule fit_edge_alignment:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        scores=lambda w: study.training_paths(
            w, "edge-scores", model=w.source, edge_method=w.edge_method
        ),
        pairs=lambda w: study.training_paths(
            w, "split-pairs", model=w.target, split="train"
        ),
        source_weights=lambda w: study.if_edges_compared(w, origins.weights(w.source)),
        source_pairs=lambda w: study.if_edges_compared(
            w, study.training_paths(w, "split-pairs", model=w.source, split="train")
        ),
    output:
        cost=job("fit_edge_alignment").cost,
        alignments=paths("edge-alignment", seed=study.seeds),
    log:
        job("fit_edge_alignment").log,
    benchmark:
        job("fit_edge_alignment").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("fit_edge_alignment", "source", "target"),
    params:
        tasks=study.training_tasks,
        seeds=study.seeds,
        maps=study.fitted_edge_maps,
        kv=config["attribution"]["kv"],
        ranking=config["alignment"]["edges"]["ranking"],
        transform=config["alignment"]["edges"]["transform"],
        prior=prior_settings(config),
        controls=study.trained_edge_controls,
        settings=edge_fit_settings(config),
        pairs=pairs_settings(config["alignment"], "edges"),
        state=placed(job("fit_edge_alignment").state),
    message:
        "Aligning edges of {wildcards.source} to {wildcards.target} by {wildcards.edge_method} on {wildcards.training_set}"
    script:
        "../scripts/fit_edge_alignment.py"


rule stitch_edges:
    input:
        source=path("model", model="{source}"),
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.source, w.target),
        source_pairs=path("split-pairs", model="{source}", split="train"),
        target_pairs=path("split-pairs", model="{target}", split="train"),
    output:
        alignment=path("stitched-edges"),
        cost=job("stitch_edges").cost,
    log:
        job("stitch_edges").log,
    benchmark:
        job("stitch_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("stitch_edges", "source", "target"),
    params:
        kv=config["attribution"]["kv"],
        pairs=pairs_settings(config, "attribution"),
    message:
        "Stitching edges of {wildcards.source} and {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/stitch_edges.py"


rule evaluate_aligned_edges:
    input:
        target=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        scores=lambda w: paths(
            "edge-scores", model=w.source, task=study.tasks, edge_method=w.edge_method
        ),
        gold=lambda w: paths(
            "edge-scores", model=w.target, task=study.tasks, edge_method=w.edge_method
        ),
        alignments=study.evaluated_edge_alignments,
        masks=study.free_edge_masks,
        stitched=study.stitched_edges,
        nodes=study.lifted_projections,
    output:
        faithfulness=path("aligned-edges"),
        projections=path("edge-projections"),
        cost=job("evaluate_aligned_edges").cost,
    log:
        job("evaluate_aligned_edges").log,
    benchmark:
        job("evaluate_aligned_edges").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_aligned_edges", "target"),
    params:
        kv=config["attribution"]["kv"],
        ranking=config["alignment"]["edges"]["ranking"],
        settings=evaluation_settings(config),
        tasks=study.tasks,
        families=study.families,
        maps=lambda w: study.edge_maps_of(w.source, w.target),
        controls=study.edge_controls,
        state=placed(job("evaluate_aligned_edges").state),
    message:
        "Evaluating edges of {wildcards.source} on {wildcards.target}, {wildcards.task} by {wildcards.edge_method}"
    script:
        "../scripts/evaluate_aligned_edges.py"
