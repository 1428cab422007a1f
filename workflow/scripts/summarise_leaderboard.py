"""Tabulate how one pair's aligned circuits compare with gold and random ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.job import job
from circuit_transfer.tables.transfers import leaderboard
from circuit_transfer.tables.typesetting import write_table


def summarise_leaderboard(
    statistics_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Write one pair's leaderboard, one path per format."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    table = leaderboard(
        statistics,
        source=source,
        target=target,
        name=name,
        tasks=tasks,
        methods=methods,
    )
    write_table(table, *table_paths, title=f"CPR, {source} → {target}")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_leaderboard(
            snakemake.input.statistics,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            tasks=snakemake.params.tasks,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
