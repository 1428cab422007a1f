"""Tabulate the students of a teacher: every variant, and what it is compared with."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.distillation.frames import MEASURED_COLUMNS
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.distillation import distillation_table, distillation_tests
from circuit_transfer.tables.distillation_statistics import (
    DOCUMENTATION,
    distillation_statistics,
)
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def summarise_distillation(
    measures_paths: Iterable[Path | str],
    statistics_path: Path | str,
    variants_table_paths: Iterable[Path | str],
    tests_table_paths: Iterable[Path | str],
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    variants: Sequence[str],
    accuracy: float,
    steps: int,
) -> None:
    """Read what was measured of all students, write its numbers and two tables.

    The measures are one file for each task and variant. All numbers go to one file, the
    tables to one path per format.
    """
    parts = [read_frame(path, tuple(MEASURED_COLUMNS)) for path in measures_paths]
    statistics = distillation_statistics(pl.concat(parts), steps=steps)
    log.info("%d variants, %d numbers", len(variants), len(statistics))
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    names = {"tasks": tasks, "variants": variants}
    table = distillation_table(statistics, **names, accuracy=accuracy, steps=steps)
    pair = f"{teacher} distilled into {student}"
    write_table(table, *variants_table_paths, title=pair)
    table = distillation_tests(statistics, **names)
    write_table(table, *tests_table_paths, title=f"{pair}: variants compared")


if __name__ == "__main__":
    run_stage(summarise_distillation, snakemake)
