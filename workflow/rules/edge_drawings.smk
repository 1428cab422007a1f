"""Circuits of edges of a source, and gold and transferred ones of the target."""


rule plot_transferred_circuits:
    input:
        models=paths("model", model=["{source}", "{target}"]),
        source=path("edge-scores", model="{source}"),
        gold=path("edge-scores", model="{target}"),
        projections=path("edge-projections"),
    output:
        figure=figure("transferred-circuits"),
        table=figure_pattern("transferred-circuits", "csv"),
    log:
        job("plot_transferred_circuits").log,
    benchmark:
        job("plot_transferred_circuits").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("families"),
        map_name=study.edge_map,
        ranking=config["alignment"]["edges"]["ranking"],
        seed=study.seeds[0],
    message:
        "Drawing transferred edges of {wildcards.source} to {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/plot_transferred_circuits.py"
