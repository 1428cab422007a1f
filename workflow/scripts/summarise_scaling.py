"""Tabulate what the pairs of a study recover of the gold circuit on one task."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.job import job
from circuit_transfer.tables.transfers import scaling
from circuit_transfer.tables.typesetting import write_table


def summarise_scaling(
    statistics_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    task: str,
    transfers: Sequence[Mapping[str, str]],
    name: str,
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Write one task's table of pairs, one path per format."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    table = scaling(
        statistics, task=task, transfers=transfers, name=name, methods=methods
    )
    write_table(table, *table_paths, title=f"CPR on {task} by pair")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_scaling(
            snakemake.input.statistics,
            snakemake.output,
            task=snakemake.wildcards.task,
            transfers=snakemake.params.transfers,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
