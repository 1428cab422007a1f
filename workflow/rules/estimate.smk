"""What a study costs, before anything is downloaded or computed."""

FORMATS = ["csv", "tex", "html"]


rule estimate_cost:
    input:
        words=WORDS,
        facts=FACTS,
    output:
        costs=expand("results/tables/cost-estimate.{suffix}", suffix=FORMATS),
        schedule=expand("results/tables/cost-schedule.{suffix}", suffix=FORMATS),
    log:
        "results/logs/estimate_cost.log",
    benchmark:
        "results/benchmarks/estimate_cost.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        config=config,
        checkpoints={
            name: at_hand(entry["path"])
            for name, entry in config["models"].items()
            if "path" in entry
        },
        configurations=str(DATA / "configurations"),
    message:
        "Estimating what the study costs"
    script:
        "../scripts/estimate_cost.py"
