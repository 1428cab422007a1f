"""Draw accuracy and CKA over the steps of every variant of distillation."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.figures.distillation import CURVES, distillation_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.distillation_statistics import SCHEMA


def plot_distillation(
    statistics_path: Path | str,
    records_paths: Iterable[Path | str],
    figure_paths: Sequence[Path | str],
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    accuracy: float,
) -> None:
    """Write the figure of all trainings of a student, one path per format.

    The records are one file for each task, variant and seed. A training without pairs
    has no curves.
    """
    statistics = read_frame(statistics_path, tuple(SCHEMA))
    every = product(tasks, variants, seeds)
    curves = [
        _curves(path).select(
            pl.lit(task).alias("task"),
            pl.lit(variant).alias("variant"),
            pl.lit(seed, pl.Int64).alias("seed"),
            *("step", "accuracy", "cka"),
        )
        for (task, variant, seed), path in zip(every, records_paths, strict=True)
    ]
    figure = distillation_figure(
        statistics,
        pl.concat(curves),
        teacher=teacher,
        student=student,
        tasks=tasks,
        variants=variants,
        accuracy=accuracy,
    )
    save(figure, *figure_paths)


def _curves(path: Path | str) -> pl.DataFrame:
    """Return what was measured during a training."""
    probes = read_json(path).get("curves", {}).get("probes", {})
    return pl.DataFrame({name: probes.get(name, []) for name in CURVES}, CURVES)


if __name__ == "__main__":
    run_stage(plot_distillation, snakemake)
