"""Models with a planted circuit, and how well their circuits are found."""


rule plant_model:
    input:
        words=origins.words,
        facts=origins.facts,
    output:
        checkpoint=paths("checkpoint", file=CHECKPOINT_FILES),
        truth=path("checkpoint", file="truth.json"),
    log:
        job("plant_model").log,
    benchmark:
        job("plant_model").benchmark
    wildcard_constraints:
        model=origins.made_by("planted"),
    priority: FIRST
    conda:
        "../../envs/torch.yaml"
    params:
        entry=lambda w: config["models"][w.model].get("planted"),
    message:
        "Planting the circuit of {wildcards.model}"
    script:
        "../scripts/plant_model.py"


rule score_planted:
    input:
        truth=paths("checkpoint", model=planted_models(study), file="truth.json"),
        model=paths("model", model=planted_models(study)),
        scores=planted_scores(study),
        node_scores=planted_node_scores(study),
        masks=planted_masks(study),
    output:
        table=table("planted"),
        frame=path("planted"),
    log:
        job("score_planted").log,
    benchmark:
        job("score_planted").benchmark
    conda:
        "../../envs/figures.yaml"
    params:
        counterfactuals=planted_tasks(study),
    message:
        "Comparing edge scores with the circuits that were planted"
    script:
        "../scripts/score_planted.py"


rule planted:
    input:
        results_of(study, "planted"),
