"""Tabulate what every map makes of real and of other source scores."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.job import job
from circuit_transfer.tables.comparisons import maps_table
from circuit_transfer.tables.typesetting import write_table


def summarise_maps(
    statistics_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    names: Sequence[str],
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Write one pair's table of maps, one path per format."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    table = maps_table(
        statistics, source=source, target=target, names=names, methods=methods
    )
    write_table(table, *table_paths, title=f"CPR by map, {source} → {target}")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_maps(
            snakemake.input.statistics,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            names=snakemake.params.maps,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
