"""How similar projections are to the gold scores, and how stable the circuits are."""


rule correlate_scores:
    input:
        projections=study.every(path("projections")),
        gold=study.every(path("scores", model="{target}")),
        edge_projections=study.every(path("edge-projections")),
        edge_gold=study.transferred_edge_scores(study.targets),
    output:
        correlations=path("correlations"),
        tables=[
            file
            for source, target in study.transfers
            for file in table("correlations", source=source, target=target)
        ],
    log:
        job("correlate_scores").log,
    benchmark:
        job("correlate_scores").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("proportions", "families", "edge_ranking"),
        methods=study.transferred_methods,
        pairs=study.transfers,
    message:
        "Comparing projected scores with gold ones"
    script:
        "../scripts/correlate_scores.py"


rule plot_correlations:
    input:
        correlations=path("correlations"),
    output:
        figure("correlations"),
    log:
        job("plot_correlations").log,
    benchmark:
        job("plot_correlations").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=study.maps_by_method(),
    message:
        "Drawing the similarity of {wildcards.source} to {wildcards.target} to the gold scores"
    script:
        "../scripts/plot_correlations.py"


rule plot_stability:
    input:
        source=paths("scores", model="{source}", task=study.tasks),
        gold=paths("scores", model="{target}", task=study.tasks),
        alignments=paths("alignment", training_set=study.partial_sets, seed=study.seeds),
    output:
        tables=paths("stability", suffix=["parquet", "csv"]),
        figures=figure("stability"),
    log:
        job("plot_stability").log,
    benchmark:
        job("plot_stability").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "proportions", "families"),
    message:
        "Resampling the circuits of {wildcards.source} and {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_stability.py"
