"""Tabulate what maps owe to their source, by the number of their training families."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.training_families import training_families_table
from circuit_transfer.tables.typesetting import write_table


def summarise_training_families(
    areas_paths: Iterable[Path | str],
    table_paths: Iterable[Path | str],
    *,
    families: Mapping[str, Sequence[str]],
) -> None:
    """Read the areas of all pairs and methods, write one path per format."""
    areas = [read_frame(path, ["setting", "value", "cpr"]) for path in areas_paths]
    table = training_families_table(pl.concat(areas), families)
    write_table(table, *table_paths, title="Circuits by number of training families")


if __name__ == "__main__":
    run_stage(summarise_training_families, snakemake)
