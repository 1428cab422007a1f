"""Students that are trained towards a teacher, and what is measured of them."""

# Where files of both models are read, they are in this order.
STUDENT_AND_TEACHER = ["{student}", "{teacher}"]


rule distil_student:
    input:
        teacher=path("model", model="{teacher}"),
        student=path("model", model="{student}"),
        weights=lambda w: origins.weights(w.teacher, w.student),
        matched=distillation_files.used_matching(study),
        pairs=paths("split-pairs", model=STUDENT_AND_TEACHER, split="train"),
        tests=paths("split-pairs", model=STUDENT_AND_TEACHER, split="test"),
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
        settings=lambda w: distillation.distilling_settings(config, w.variant),
        held_out=distillation.held_out_settings(config),
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
        matched=distillation_files.used_matching(study),
        heads=paths("critical-heads", model=STUDENT_AND_TEACHER),
        pairs=path("split-pairs", model="{student}", split="train"),
        tests=paths(
            "split-pairs",
            model=STUDENT_AND_TEACHER,
            task=config["study"]["tasks"],
            split="test",
        ),
        nodes=lambda w: distillation_files.student_scores(study, w, "nodes"),
        edges=lambda w: distillation_files.student_scores(study, w, "edges"),
        checkpoints=paths(
            "distilled", seed=config["distillation"]["seeds"], file=CHECKPOINT_FILES
        ),
        records=paths(
            "distilled", seed=config["distillation"]["seeds"], file="training.json"
        ),
        trainings=lambda w: distillation_files.trainings(study, w),
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
        tasks=config["study"]["tasks"],
        seeds=config["distillation"]["seeds"],
        settings=distillation.measuring_settings(config),
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
