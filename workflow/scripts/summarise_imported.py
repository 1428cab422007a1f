"""Tabulate how imported circuits compare with gold and random ones."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.job import job
from circuit_transfer.tables.layouts import imported_table
from circuit_transfer.tables.typesetting import write_table


def summarise_imported(
    statistics_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    circuits: Mapping[str, Mapping[str, str]],
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Write the table of imported circuits, one path per format."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    table = imported_table(statistics, circuits=circuits, methods=methods)
    write_table(table, *table_paths, title="Imported circuits")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_imported(
            snakemake.input.statistics,
            snakemake.output,
            circuits=snakemake.params.circuits,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
