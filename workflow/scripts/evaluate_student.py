"""Measure the students of one variant: answers, circuit, and nearness to teacher."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
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
from circuit_transfer.stages.distillation import RECORD, Finished
from circuit_transfer.stages.students import Examination, read_examination

Rows = list[dict[str, Any]]


def evaluate_student(
    teacher_path: Path | str,
    student_path: Path | str,
    matched_path: Path | str,
    heads_paths: Iterable[Path | str],
    pairs_path: Path | str,
    tests_paths: Iterable[Path | str],
    nodes_paths: Iterable[Path | str],
    edges_paths: Iterable[Path | str],
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
    resume: Resume = NO_RESUME,
) -> None:
    """Read the students of all seeds, write what is measured (`MEASURED_COLUMNS`).

    Of tasks that a student is not trained on, only the answers. Files of both models
    are the student's, then the teacher's; `pairs_path` are training pairs, and
    `trainings_paths` costs; `settings` are `study.distillation.measuring_settings`.
    """
    files, count = [*tests_paths], len(tasks)
    tests = zip(files[:count], files[count:], strict=True)
    examination = read_examination(
        descriptions=(student_path, teacher_path),
        matched=matched_path,
        heads=tuple(heads_paths),
        train=pairs_path,
        tests=dict(zip(tasks, tests, strict=True)),
        scores=zip_longest(nodes_paths, edges_paths),
        task=task,
        settings=settings,
    )
    folders = [Path(record).parent for record in records_paths]
    finished = _finished(examination, seeds, folders, resume)
    costs = zip(seeds, folders, trainings_paths, strict=True)
    trained = {seed: _trained(*each, settings["accuracy"]) for seed, *each in costs}
    rows = _labelled(finished.parts, seeds, variant)
    labels = {"teacher": teacher, "student": student, "task": task}
    write_frame(_frame(rows, labels, trained), measures_path)
    write_json([*finished.joined("costs"), *examination.probed[1]], cost_path)
    resume.remove()


def _finished(
    examination: Examination,
    seeds: Sequence[int],
    folders: Sequence[Path],
    resume: Resume,
) -> Finished:
    """Measure the teacher and the students, as far as that has not been done."""
    parts = [TEACHER_STATE, BEFORE, *(f"seed-{seed}" for seed in seeds)]
    every = [*zip(parts, [None, None, *folders], strict=True)]
    finished = Finished(resume)
    done = len(finished.parts)
    for part, folder in progress(every[done:], len(parts), "student", done=done):
        finished.add(*_examined(examination, part, folder))
    return finished


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


def _frame(rows: Rows, labels: Mapping[str, str], trained: Mapping) -> pl.DataFrame:
    """Return rows as a frame, those of trained students with how it went by seed."""
    every = []
    for row in rows:
        is_own = row["evaluated_task"] == labels["task"]
        own = trained[row["seed"]] if is_own and row["state"] == AFTER else {}
        every.append(dict.fromkeys(MEASURED_COLUMNS) | labels | row | own)
    return pl.DataFrame(every, MEASURED_COLUMNS)


def _trained(folder: Path, cost_path: Path | str, accuracy: float) -> dict[str, Any]:
    """Return how a training went: steps to an accuracy, seconds and passes."""
    record, costs = read_json(folder / RECORD), read_json(cost_path)
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
