"""Circuits to the format of the MIB benchmark's circuit track, and from elsewhere."""


rule export_mib:
    input:
        model=path("model"),
        scores=path("scores"),
    output:
        importances=path("importances", suffix="json"),
        tensors=path("importances", suffix="safetensors"),
    log:
        job("export_mib").log,
    benchmark:
        job("export_mib").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Exporting scores of {wildcards.model} on {wildcards.task} by {wildcards.method} for MIB"
    script:
        "../scripts/export_mib.py"


rule export_mib_edges:
    input:
        model=path("model"),
        scores=study.edge_ranking,
    output:
        importances=path("edge-importances", suffix="json"),
        tensors=path("edge-importances", suffix="safetensors"),
    log:
        job("export_mib_edges").log,
    benchmark:
        job("export_mib_edges").benchmark
    wildcard_constraints:
        **study.any_edge_method,
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Exporting edges of {wildcards.model} on {wildcards.task} by {wildcards.edge_method} for MIB"
    script:
        "../scripts/export_mib_edges.py"


rule mib:
    input:
        study.every(path("importances", suffix="json")),
        study.every(
            path("edge-importances", suffix="json"),
            edge_method=config["study"]["edge_methods"],
        ),


rule evaluate_imported:
    input:
        model=path("model", model="{target}"),
        weights=lambda w: origins.weights(w.target),
        pairs=path("split-pairs", model="{target}", split="test"),
        importances=lambda w: local(
            origins.located(study.circuits[w.circuit]["importances"])
        ),
    output:
        faithfulness=path("imported"),
        cost=job("evaluate_imported").cost,
    log:
        job("evaluate_imported").log,
    benchmark:
        job("evaluate_imported").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_imported", "model"),
    params:
        settings=evaluation_settings(config),
        state=placed(job("evaluate_imported").state),
    message:
        "Evaluating the imported {wildcards.circuit} of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_imported.py"
