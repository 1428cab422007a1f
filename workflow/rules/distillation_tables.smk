"""Students in tables and figures: variants, tests, matched heads, curves."""

STUDENTS = distillation_results.student_settings(
    config, "tasks", "variants", "seeds", "methods"
)


rule summarise_distillation:
    input:
        measures=paths(
            "distilled-measures",
            task=STUDENTS["tasks"],
            variant=STUDENTS["variants"],
        ),
    output:
        statistics=path("distillation-statistics"),
        variants_table=table("distillation"),
        tests_table=table("distillation-tests"),
    log:
        job("summarise_distillation").log,
    benchmark:
        job("summarise_distillation").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **distillation_results.student_settings(
            config, "tasks", "variants", "accuracy", "steps"
        ),
    message:
        "Comparing the students of {wildcards.teacher}: {wildcards.student}"
    script:
        "../scripts/summarise_distillation.py"


rule plot_distillation:
    input:
        statistics=path("distillation-statistics"),
        records=paths(
            "distilled",
            task=STUDENTS["tasks"],
            variant=STUDENTS["variants"],
            seed=STUDENTS["seeds"],
            file="training.json",
        ),
    output:
        figure("distillation"),
    log:
        job("plot_distillation").log,
    benchmark:
        job("plot_distillation").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **distillation_results.student_settings(
            config, "tasks", "variants", "seeds", "accuracy"
        ),
    message:
        "Drawing how {wildcards.student} learns from {wildcards.teacher}"
    script:
        "../scripts/plot_distillation.py"


rule summarise_matched_heads:
    input:
        matched=paths(
            "matched-heads",
            task=STUDENTS["tasks"],
            matching=STUDENTS["methods"],
        ),
    output:
        heads_table=table("matched-heads"),
        agreement_table=table("matching-agreement"),
    log:
        job("summarise_matched_heads").log,
    benchmark:
        job("summarise_matched_heads").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **distillation_results.student_settings(config, "tasks", "methods"),
    message:
        "Tabulating the heads of {wildcards.student} that are matched to {wildcards.teacher}"
    script:
        "../scripts/summarise_matched_heads.py"


rule plot_matched_heads:
    input:
        matched=paths(
            "matched-heads",
            task=STUDENTS["tasks"],
            matching=STUDENTS["methods"],
        ),
        teacher=path("model", model="{teacher}"),
        student=path("model", model="{student}"),
    output:
        figure("matched-heads"),
    log:
        job("plot_matched_heads").log,
    benchmark:
        job("plot_matched_heads").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **distillation_results.student_settings(config, "tasks", "methods"),
    message:
        "Drawing the heads of {wildcards.student} that are matched to {wildcards.teacher}"
    script:
        "../scripts/plot_matched_heads.py"
