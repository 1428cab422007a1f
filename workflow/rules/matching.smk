"""The critical heads of teacher and student, and how they are matched."""


rule find_critical_heads:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
        scores=lambda w: distillation_files.ranking_scores(study, w),
    output:
        heads=path("critical-heads"),
        cost=job("find_critical_heads").cost,
    log:
        job("find_critical_heads").log,
    benchmark:
        job("find_critical_heads").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("find_critical_heads", "model"),
    params:
        settings=distillation.critical_settings(config),
        state=placed(job("find_critical_heads").state),
    message:
        "Finding the critical heads of {wildcards.model} on {wildcards.task}"
    script:
        "../scripts/find_critical_heads.py"


rule match_heads:
    input:
        teacher=path("model", model="{teacher}"),
        student=path("model", model="{student}"),
        teacher_heads=path("critical-heads", model="{teacher}"),
        student_heads=path("critical-heads", model="{student}"),
        weights=lambda w: (
            origins.weights(w.teacher, w.student)
            if distillation_files.compares_activations(w)
            else []
        ),
        teacher_pairs=lambda w: distillation_files.compared_pairs(w, w.teacher),
        student_pairs=lambda w: distillation_files.compared_pairs(w, w.student),
        teacher_scores=lambda w: distillation_files.profiled_scores(study, w, w.teacher),
        student_scores=lambda w: distillation_files.profiled_scores(study, w, w.student),
        alignment=lambda w: distillation_files.matching_alignment(study, w),
    output:
        matched=path("matched-heads"),
        cost=job("match_heads").cost,
    log:
        job("match_heads").log,
    benchmark:
        job("match_heads").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("match_heads", "teacher", "student"),
    params:
        settings=lambda w: distillation.matching_settings(config, w.matching),
    message:
        "Matching heads of {wildcards.student} to {wildcards.teacher} on {wildcards.task} by {wildcards.matching}"
    script:
        "../scripts/match_heads.py"
