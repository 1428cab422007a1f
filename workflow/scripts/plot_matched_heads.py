"""Draw which heads of a teacher the heads of a student are matched to."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_record
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.distillation.frames import MATCHED_COLUMNS
from circuit_transfer.figures.matched_heads import matched_heads_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_matched_heads(
    matched_paths: Iterable[Path | str],
    teacher_path: Path | str,
    student_path: Path | str,
    figure_paths: Sequence[Path | str],
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> None:
    """Write the figure of all tasks and methods, one path per format.

    `teacher_path` and `student_path` are the descriptions of both models. Of `methods`
    the first is that of the training.
    """
    matched = pl.concat(
        read_frame(path, tuple(MATCHED_COLUMNS)) for path in matched_paths
    )
    shapes = {teacher: _shape(teacher_path), student: _shape(student_path)}
    names = {"teacher": teacher, "student": student, "tasks": tasks}
    save(matched_heads_figure(matched, shapes, **names, methods=methods), *figure_paths)


def _shape(path: Path | str) -> tuple[int, int]:
    """Return the numbers of layers, and of heads in a layer, of a model."""
    found = read_record(path, ("layers", "heads"))
    return found["layers"], found["heads"]


if __name__ == "__main__":
    run_stage(plot_matched_heads, snakemake)
