"""Tabulate how the scores change with the number of steps."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.convergence import COLUMNS, convergence_table
from circuit_transfer.tables.typesetting import write_table


def summarise_convergence(
    scores_paths: Iterable[Path | str], table_paths: Iterable[Path | str]
) -> None:
    """Read the scores of all models, tasks and methods, write one path per format."""
    table = convergence_table([read_frame(path, COLUMNS) for path in scores_paths])
    write_table(table, *table_paths, title="Scores by number of steps")


if __name__ == "__main__":
    run_stage(summarise_convergence, snakemake)
