"""Measure the students of one variant: answers, circuit, and nearness to teacher."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.distillation.frames import (
    AFTER,
    BEFORE,
    MEASURED_COLUMNS,
    TEACHER_STATE,
)
from circuit_transfer.distillation.measures import steps_to
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.distillation import Finished
from circuit_transfer.stages.students import Examination, read_examination

Rows = list[dict[str, Any]]


def evaluate_student(
    teacher_path: Path | str,
    student_path: Path | str,
    matched_path: Path | str,
    teacher_heads_path: Path | str,
    student_heads_path: Path | str,
    student_train_path: Path | str,
    teacher_tests_paths: Iterable[Path | str],
    student_tests_paths: Iterable[Path | str],
    records_paths: Iterable[Path | str],
    trainings_paths: Iterable[Path | str],
    measures_path: Path | str,
    cost_path: Path | str,
    *,
    teacher: str,
    student: str,
    task: str,
    variant: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    teacher_nodes_path: Path | str | None = None,
    student_nodes_path: Path | str | None = None,
    teacher_edges_path: Path | str | None = None,
    student_edges_path: Path | str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Read the students of all seeds, write what is measured before and after.

    A row per seed, state and evaluated task (`MEASURED_COLUMNS`), and rows of the
    teacher, without variant. Of the tasks that a student is not trained on only the
    answers are measured. `trainings_paths` are the costs of the trainings, and
    `settings` those of `study.distillation.measuring_settings`.
    """
    tests = zip(student_tests_paths, teacher_tests_paths, strict=True)
    examination = read_examination(
        descriptions=(student_path, teacher_path),
        matched=matched_path,
        heads=(student_heads_path, teacher_heads_path),
        train=student_train_path,
        tests=dict(zip(tasks, tests, strict=True)),
        nodes=(student_nodes_path, teacher_nodes_path),
        edges=(student_edges_path, teacher_edges_path),
        task=task,
        settings=settings,
    )
    records, trainings = map(list, (records_paths, trainings_paths))
    parts = [TEACHER_STATE, BEFORE, *(f"seed-{seed}" for seed in seeds)]
    folders = [None, None, *(Path(record).parent for record in records)]
    finished = Finished(resume)
    left = [*zip(parts, folders, strict=True)][len(finished.parts) :]
    done = len(finished.parts)
    for part, folder in progress(left, len(parts), "student", done=done):
        finished.add(*_examined(examination, part, folder))
    labels = {"teacher": teacher, "student": student, "task": task}
    rows = _labelled(finished.parts, seeds, variant)
    trained = zip(seeds, records, trainings, strict=True)
    of_seed = {seed: _trained(*files, settings["accuracy"]) for seed, *files in trained}
    for row in rows:
        if row["state"] == AFTER and row["evaluated_task"] == task:
            row |= of_seed[row["seed"]]
    every = [{**dict.fromkeys(MEASURED_COLUMNS), **labels, **row} for row in rows]
    write_frame(pl.DataFrame(every, MEASURED_COLUMNS), measures_path)
    write_json(finished.joined("costs"), cost_path)
    resume.remove()


def _examined(
    examination: Examination, part: str, folder: Path | None
) -> tuple[Rows, Rows]:
    """Return the rows of the teacher, or of a student, and the costs."""
    if part == TEACHER_STATE:
        return examination.of_teacher()
    return examination.of_student(part, folder)


def _labelled(
    parts: Sequence[Mapping[str, Any]], seeds: Sequence[int], variant: str
) -> Rows:
    """Return the rows of all parts with variant, seed and state.

    What a student was before is the same for all seeds.
    """
    teacher, before, *after = (part["rows"] for part in parts)
    named = {"variant": variant}
    return [
        *(row | {"state": TEACHER_STATE} for row in teacher),
        *(
            row | named | {"seed": seed, "state": state}
            for seed, trained in zip(seeds, after, strict=True)
            for state, rows in ((BEFORE, before), (AFTER, trained))
            for row in rows
        ),
    ]


def _trained(
    record_path: Path | str, training_path: Path | str, accuracy: float
) -> dict[str, Any]:
    """Return how a training went: steps to an accuracy, seconds and passes."""
    record, costs = read_json(record_path), read_json(training_path)
    if "curves" not in record:
        return {}
    probes = pl.DataFrame(record["curves"]["probes"])
    return {
        "steps_to_accuracy": steps_to(probes, accuracy),
        "seconds": sum(row["seconds"] for row in costs),
        "passes": sum(row["forwards"] + row["forward_backwards"] for row in costs),
    }


if __name__ == "__main__":
    run_stage(evaluate_student, snakemake)
