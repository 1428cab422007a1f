"""What a study costs, before anything is downloaded or computed."""


rule estimate_cost:
    input:
        words=origins.words,
        facts=origins.facts,
        models=origins.configurations(study.models),
    output:
        costs=paths("cost-estimate", suffix=TABLE_SUFFIXES),
        schedule=paths("cost-schedule", suffix=TABLE_SUFFIXES),
    log:
        job("estimate_cost").log,
    benchmark:
        job("estimate_cost").benchmark
    conda:
        "../../envs/torch.yaml"
    params:
        config=config,
        checkpoints=origins.given_checkpoints(),
        gguf_files=origins.given_gguf_files(),
        configurations=str(origins.published),
    message:
        "Estimating the cost of the study"
    script:
        "../scripts/estimate_cost.py"
