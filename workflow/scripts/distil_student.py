"""Train a student on one task by one variant of distillation, with one seed."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured
from circuit_transfer.distillation.activations import enough_samples
from circuit_transfer.distillation.settings import DistillationSettings
from circuit_transfer.distillation.training import Distilled, Lesson, distil
from circuit_transfer.distillation.variants import CKA, LOGITS, VARIANTS, Pair
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.stages.distillation import (
    NO_PAIRS,
    Shared,
    check_same_tokens,
    read_matched,
    read_shared,
    write_student,
)

log = logging.getLogger(__name__)


def distil_student(
    teacher_path: Path | str,
    student_path: Path | str,
    matched_path: Path | str,
    pairs_paths: Iterable[Path | str],
    tests_paths: Iterable[Path | str],
    record_path: Path | str,
    cost_path: Path | str,
    *,
    teacher: str,
    student: str,
    task: str,
    variant: str,
    seed: str | int,
    settings: Mapping[str, Any],
    held_out: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Train on all training pairs that both models have, write the student.

    It is a checkpoint of the Hugging Face layout with a record of the training: curves,
    settings, and pairs of heads. Without pairs of prompts or of heads, or with fewer
    than the variant's CKA takes, it stays as it is. Pairs of prompts are the student's,
    then the teacher's; `settings` are those of `DistillationSettings` that the variant
    has, `held_out` says how many test pairs are measured meanwhile.
    """
    description = read_description(student_path)
    models = load_described(description), load_described(read_description(teacher_path))
    how = DistillationSettings(**settings)
    sizes = {"examples": None, "batch_size": how.batch_size}
    batches = read_shared(models, tuple(pairs_paths), "train", **sizes)
    tested = read_shared(models, tuple(tests_paths), "test", **held_out)
    matched = read_matched(matched_path)
    record = {"teacher": teacher, "student": student, "task": task}
    record |= {"variant": variant, "seed": int(seed), "settings": dict(settings)}
    record |= {"examples": sum(len(own) for own, _ in batches)}
    costs = []
    if _is_trainable(task, variant, (batches, tested, matched), how):
        if LOGITS in VARIANTS[variant].terms:
            check_same_tokens([*batches, *tested])
        lesson = Lesson(*models, batches, tested, matched, how)
        found, costs = _trained(lesson, record, resume)
        # The settings that the variant has are in the record already.
        record = found.record | record | {"curves": _curves(found)}
    write_student(Path(record_path).parent, models[0], description, record)
    write_json(costs, cost_path)
    resume.remove()


def _is_trainable(
    task: str,
    variant: str,
    given: tuple[Shared, Shared, list[Pair]],
    how: DistillationSettings,
) -> bool:
    """Return whether there is what a variant takes; log a warning if not.

    `given` are the training and test pairs of prompts, and the pairs of heads.
    """
    if not all(given):
        log.warning(NO_PAIRS, task)
        return False
    compares = CKA in VARIANTS[variant].terms
    if compares and not enough_samples(given[0], how.positions, how.estimator):
        log.warning("the student stays as it is: no CKA for the variant %s", variant)
        return False
    return True


def _trained(
    lesson: Lesson, names: Mapping[str, Any], resume: Resume
) -> tuple[Distilled, list[dict[str, Any]]]:
    """Train the student; return how that went, and what both models cost."""
    part = f"seed-{names['seed']}"
    with (
        measured(part, names["student"], lesson.student, resume) as own,
        measured(f"{part}, teacher", names["teacher"], lesson.teacher, resume) as other,
    ):
        found = distil(
            lesson, variant=names["variant"], seed=names["seed"], resume=resume
        )
    # The time is that of both, and counted once.
    return found, [own, other | {"seconds": 0.0}]


def _curves(found: Distilled) -> dict[str, dict[str, list]]:
    """Return the curves of a training by column, in what JSON can hold."""
    frames = {"steps": found.steps, "probes": found.probes}
    return {name: frame.to_dict(as_series=False) for name, frame in frames.items()}


if __name__ == "__main__":
    run_stage(distil_student, snakemake)
