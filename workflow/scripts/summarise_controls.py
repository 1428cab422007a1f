"""Tabulate how one pair's aligned circuits compare with their controls."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.job import job
from circuit_transfer.tables.transfers import controls_table
from circuit_transfer.tables.typesetting import write_table


def summarise_controls(
    statistics_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    controls: Sequence[str],
    ablation: str,
) -> None:
    """Write one pair's table of controls, one path per format."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    table = controls_table(
        statistics,
        source=source,
        target=target,
        name=name,
        tasks=tasks,
        methods=methods,
        controls=controls,
    )
    write_table(table, *table_paths, title=f"CPR of controls, {source} → {target}")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_controls(
            snakemake.input.statistics,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            tasks=snakemake.params.tasks,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            controls=snakemake.params.controls,
            ablation=snakemake.params.ablation,
        )
