"""How faithful circuits are on the target: gold, random, aligned and controls."""

EVALUATION = {
    key: config["evaluation"][key]
    for key in ["ablations", "proportions", "examples", "batch_size"]
}


rule evaluate_gold:
    input:
        model="results/models/{target}/model.json",
        weights=weights("target"),
        pairs="results/pairs/{target}/{task}.parquet",
        scores="results/scores/{target}/{task}/{method}.safetensors",
    output:
        faithfulness="results/faithfulness/gold/{target}/{task}/{method}.parquet",
        cost="results/costs/evaluate_gold/{target}/{task}/{method}.json",
    log:
        "results/logs/evaluate_gold/{target}/{task}/{method}.log",
    benchmark:
        "results/benchmarks/evaluate_gold/{target}/{task}/{method}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_gold", "model"),
    params:
        settings=EVALUATION,
        state="results/resume/evaluate_gold/{target}/{task}/{method}",
    message:
        "Evaluating gold circuits of {wildcards.target} on {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/evaluate_gold.py"


rule evaluate_random:
    input:
        model="results/models/{target}/model.json",
        weights=weights("target"),
        pairs="results/pairs/{target}/{task}.parquet",
    output:
        faithfulness="results/faithfulness/random/{target}/{task}.parquet",
        cost="results/costs/evaluate_random/{target}/{task}.json",
    log:
        "results/logs/evaluate_random/{target}/{task}.log",
    benchmark:
        "results/benchmarks/evaluate_random/{target}/{task}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_random", "model"),
    params:
        rankings=config["evaluation"]["random_rankings"],
        settings=EVALUATION,
        state="results/resume/evaluate_random/{target}/{task}",
    message:
        "Evaluating random circuits of {wildcards.target} on {wildcards.task}"
    script:
        "../scripts/evaluate_random.py"


rule evaluate_aligned:
    input:
        target="results/models/{target}/model.json",
        weights=weights("target"),
        pairs="results/pairs/{target}/{task}.parquet",
        scores=lambda w: of_every_task(
            "results/scores/{source}/{task}/{method}.safetensors", w
        ),
        gold=lambda w: of_every_task(
            "results/scores/{target}/{task}/{method}.safetensors", w
        ),
        alignments=evaluated_alignments,
        masks=free_masks,
        stitched=stitched_alignment,
        carried=carried_gradients,
    output:
        faithfulness="results/faithfulness/aligned/{source}/{target}/{task}/{method}.parquet",
        projections="results/projections/{source}/{target}/{task}/{method}.parquet",
        cost="results/costs/evaluate_aligned/{source}/{target}/{task}/{method}.json",
    log:
        "results/logs/evaluate_aligned/{source}/{target}/{task}/{method}.log",
    benchmark:
        "results/benchmarks/evaluate_aligned/{source}/{target}/{task}/{method}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_aligned", "target"),
    params:
        settings=EVALUATION,
        tasks=TASKS,
        families=FAMILIES,
        controls=CONTROLS,
        state="results/resume/evaluate_aligned/{source}/{target}/{task}/{method}",
    message:
        "Evaluating {wildcards.source} circuits on {wildcards.target}, {wildcards.task} by {wildcards.method}"
    script:
        "../scripts/evaluate_aligned.py"
