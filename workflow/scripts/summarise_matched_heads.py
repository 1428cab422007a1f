"""Tabulate which heads are matched by every method, and how often methods agree."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.distillation.frames import MATCHED_COLUMNS
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.matched_heads import agreement_table, matched_heads_table
from circuit_transfer.tables.typesetting import write_table


def summarise_matched_heads(
    matched_paths: Iterable[Path | str],
    heads_table_paths: Iterable[Path | str],
    agreement_table_paths: Iterable[Path | str],
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> None:
    """Read the matched heads of every task and method, write two tables.

    Of `methods` the first is that of the training. Both tables go to one path per
    format.
    """
    matched = pl.concat(
        read_frame(path, tuple(MATCHED_COLUMNS)) for path in matched_paths
    )
    title = f"Heads of {student} matched to heads of {teacher}"
    table = matched_heads_table(matched, tasks=tasks, methods=methods)
    write_table(table, *heads_table_paths, title=title)
    table = agreement_table(matched, tasks=tasks, methods=methods)
    write_table(table, *agreement_table_paths, title=f"{title}: agreement of methods")


if __name__ == "__main__":
    run_stage(summarise_matched_heads, snakemake)
