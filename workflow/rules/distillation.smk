"""From a teacher to a student: critical heads, matchings, trainings and measures."""


rule find_critical_heads:
    input:
        model=path("model"),
        weights=lambda w: origins.weights(w.model),
        pairs=path("split-pairs", split="train"),
        scores=lambda w: ranking_scores(study, w),
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
        settings=critical_settings(config),
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
            origins.weights(w.teacher, w.student) if compares_activations(w) else []
        ),
        teacher_pairs=lambda w: compared_pairs(w, w.teacher),
        student_pairs=lambda w: compared_pairs(w, w.student),
        teacher_scores=lambda w: profiled_scores(study, w, w.teacher),
        student_scores=lambda w: profiled_scores(study, w, w.student),
        alignment=lambda w: matching_alignment(study, w),
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
        settings=lambda w: matching_settings(config, w.matching),
    message:
        "Matching heads of {wildcards.student} to {wildcards.teacher} on {wildcards.task} by {wildcards.matching}"
    script:
        "../scripts/match_heads.py"


rule distil_student:
    input:
        teacher=path("model", model="{teacher}"),
        student=path("model", model="{student}"),
        weights=lambda w: origins.weights(w.teacher, w.student),
        matched=used_matching(study),
        teacher_pairs=path("split-pairs", model="{teacher}", split="train"),
        student_pairs=path("split-pairs", model="{student}", split="train"),
        teacher_test=path("split-pairs", model="{teacher}", split="test"),
        student_test=path("split-pairs", model="{student}", split="test"),
    output:
        checkpoint=paths("distilled", file=CHECKPOINT_FILES),
        record=path("distilled", file="training.json"),
        cost=job("distil_student").cost,
    log:
        job("distil_student").log,
    benchmark:
        job("distil_student").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("distil_student", "teacher", "student"),
    params:
        settings=lambda w: distilling_settings(config, w.variant),
        measured=held_out_settings(config),
        state=placed(job("distil_student").state),
    message:
        "Distilling {wildcards.teacher} into {wildcards.student} on {wildcards.task} by {wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/distil_student.py"


rule evaluate_student:
    input:
        teacher=path("model", model="{teacher}"),
        student=path("model", model="{student}"),
        weights=lambda w: origins.weights(w.teacher, w.student),
        matched=used_matching(study),
        teacher_heads=path("critical-heads", model="{teacher}"),
        student_heads=path("critical-heads", model="{student}"),
        student_train=path("split-pairs", model="{student}", split="train"),
        teacher_tests=paths(
            "split-pairs",
            model="{teacher}",
            task=distilled_tasks(config),
            split="test",
        ),
        student_tests=paths(
            "split-pairs",
            model="{student}",
            task=distilled_tasks(config),
            split="test",
        ),
        teacher_nodes=lambda w: student_scores(study, w, w.teacher, "nodes"),
        student_nodes=lambda w: student_scores(study, w, w.student, "nodes"),
        teacher_edges=lambda w: student_scores(study, w, w.teacher, "edges"),
        student_edges=lambda w: student_scores(study, w, w.student, "edges"),
        checkpoints=paths(
            "distilled", seed=config["distillation"]["seeds"], file=CHECKPOINT_FILES
        ),
        records=paths(
            "distilled", seed=config["distillation"]["seeds"], file="training.json"
        ),
        trainings=lambda w: trainings(study, w),
    output:
        measures=path("distilled-measures"),
        cost=job("evaluate_student").cost,
    log:
        job("evaluate_student").log,
    benchmark:
        job("evaluate_student").benchmark
    conda:
        "../../envs/torch.yaml"
    resources:
        **model_resources("evaluate_student", "teacher", "student"),
    params:
        tasks=distilled_tasks(config),
        seeds=config["distillation"]["seeds"],
        settings=measuring_settings(config),
        state=placed(job("evaluate_student").state),
    message:
        "Evaluating students of {wildcards.teacher} by {wildcards.variant}: {wildcards.student} on {wildcards.task}"
    script:
        "../scripts/evaluate_student.py"


rule distillation:
    input:
        results_of(study, "distillation"),
    message:
        "Students are trained, measured and compared"
