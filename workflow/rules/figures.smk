"""Figures, drawn from the tables, the scores and the alignments."""


rule plot_curves_by_pair:
    input:
        curves="results/tables/curve-intervals.parquet",
        statistics="results/tables/statistics.parquet",
    output:
        figure_files("curves-by-pair", "curves-by-pair", "Is the transfer faithful?"),
    log:
        "results/logs/plot_curves_by_pair.log",
    benchmark:
        "results/benchmarks/plot_curves_by_pair.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        transfers=STUDY["transfers"],
        map_name=MAP,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Drawing the curves of every pair"
    script:
        "../scripts/plot_curves_by_pair.py"


rule plot_curves_by_task:
    input:
        curves="results/tables/curve-intervals.parquet",
        statistics="results/tables/statistics.parquet",
    output:
        figure_files(
            "curves-by-task/{source}/{target}/{method}",
            "curves-by-task",
            "Is the transfer faithful?",
            source="{source}",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_curves_by_task/{source}/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_curves_by_task/{source}/{target}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        map_name=MAP,
        tasks=TASKS,
        ablation=ABLATION,
    message:
        "Drawing the curves of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_curves_by_task.py"


use rule plot_curves_by_task as plot_gold_curves_by_task with:
    output:
        figure_files(
            "gold-curves-by-task/{target}/{method}",
            "curves-by-task",
            "Is the transfer faithful?",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_gold_curves_by_task/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_gold_curves_by_task/{target}/{method}.tsv"
    message:
        "Drawing the gold curves of {wildcards.target} by {wildcards.method}"


rule plot_recovery:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        figure_files("recovery", "recovery", "Is the transfer faithful?"),
    log:
        "results/logs/plot_recovery.log",
    benchmark:
        "results/benchmarks/plot_recovery.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        transfers=STUDY["transfers"],
        map_name=MAP,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Drawing the recovery"
    script:
        "../scripts/plot_recovery.py"


rule plot_transfer_matrix:
    input:
        cpr="results/tables/cpr.parquet",
    output:
        figure_files(
            "transfer-matrix/{source}/{target}",
            "transfer-matrix",
            "Is the transfer faithful?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_transfer_matrix/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_transfer_matrix/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        map_name=MAP,
        methods=METHODS,
        tasks=TASKS,
        families=FAMILIES,
        ablation=ABLATION,
    message:
        "Drawing the transfer matrix of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_transfer_matrix.py"


rule plot_controls:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        figure_files(
            "controls/{source}/{target}",
            "controls",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_controls/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_controls/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        map_name=MAP,
        methods=METHODS,
        controls=CONTROLS,
        ablation=ABLATION,
    message:
        "Drawing the controls of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_controls.py"


rule plot_maps:
    input:
        statistics="results/tables/statistics.parquet",
    output:
        figure_files(
            "maps/{source}/{target}",
            "maps",
            "Does the source matter?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_maps/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_maps/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        maps=MAPS,
        methods=METHODS,
        ablation=ABLATION,
    message:
        "Drawing the maps of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_maps.py"


rule plot_completeness:
    input:
        curves="results/tables/curves.parquet",
    output:
        figure_files(
            "completeness/{source}/{target}",
            "completeness",
            "Is the transfer faithful?",
            source="{source}",
            target="{target}",
        ),
    log:
        "results/logs/plot_completeness/{source}/{target}.log",
    benchmark:
        "results/benchmarks/plot_completeness/{source}/{target}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        map_name=MAP,
        methods=METHODS,
        families=FAMILIES,
        ablation=ABLATION,
    message:
        "Drawing the completeness of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_completeness.py"


rule plot_task_correlation:
    input:
        scores=expand(
            "results/scores/{model}/{task}/{method}.safetensors",
            task=TASKS,
            method=METHODS,
            allow_missing=True,
        ),
    output:
        figure_files(
            "task-correlation/{model}",
            "task-correlation",
            "What do the circuits look like?",
            model="{model}",
        ),
    log:
        "results/logs/plot_task_correlation/{model}.log",
    benchmark:
        "results/benchmarks/plot_task_correlation/{model}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        methods=METHODS,
        tasks=TASKS,
    message:
        "Drawing how alike the circuits of {wildcards.model} are"
    script:
        "../scripts/plot_task_correlation.py"


rule plot_node_map:
    input:
        source=expand(
            "results/scores/{source}/{task}/{method}.safetensors",
            task=TASKS,
            allow_missing=True,
        ),
        gold=expand(
            "results/scores/{target}/{task}/{method}.safetensors",
            task=TASKS,
            allow_missing=True,
        ),
        alignments=first_seed_alignments,
    output:
        figure_files(
            "node-map/{source}/{target}/{method}",
            "node-map",
            "What do the circuits look like?",
            source="{source}",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_node_map/{source}/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_node_map/{source}/{target}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        tasks=TASKS,
    message:
        "Drawing the nodes of {wildcards.source} and {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_node_map.py"


rule plot_alignment_matrix:
    input:
        alignment=f"results/alignments/{{source}}/{{target}}/{{method}}/all/seed-{SEEDS[0]}.safetensors",
    output:
        figure_files(
            "alignment-matrix/{source}/{target}/{method}",
            "alignment-matrix",
            "What do the circuits look like?",
            source="{source}",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_alignment_matrix/{source}/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_alignment_matrix/{source}/{target}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the alignment of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_alignment_matrix.py"


rule plot_losses:
    input:
        alignments=expand(
            "results/alignments/{source}/{target}/{method}/{training_set}/seed-{seed}.safetensors",
            training_set=TRAINING_SETS,
            seed=SEEDS,
            allow_missing=True,
        ),
    output:
        figure_files(
            "losses/{source}/{target}/{method}",
            "losses",
            "How did the training go?",
            source="{source}",
            target="{target}",
            method="{method}",
        ),
    log:
        "results/logs/plot_losses/{source}/{target}/{method}.log",
    benchmark:
        "results/benchmarks/plot_losses/{source}/{target}/{method}.tsv"
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    message:
        "Drawing the losses of {wildcards.source} to {wildcards.target} by {wildcards.method}"
    script:
        "../scripts/plot_losses.py"
