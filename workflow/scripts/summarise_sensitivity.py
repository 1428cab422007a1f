"""Tabulate what every value of the varied settings gives."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.sensitivity import sensitivity_table
from circuit_transfer.tables.typesetting import write_table


def summarise_sensitivity(
    areas_paths: Iterable[Path | str], table_paths: Iterable[Path | str]
) -> None:
    """Read the areas of all pairs, methods and settings, write one path per format."""
    areas = [read_frame(path, ["setting", "value", "cpr"]) for path in areas_paths]
    table = sensitivity_table(pl.concat(areas))
    write_table(table, *table_paths, title="Circuits by setting")


if __name__ == "__main__":
    run_stage(summarise_sensitivity, snakemake)
