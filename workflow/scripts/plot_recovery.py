"""Draw the share of the gold CPR that aligned circuits recover."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.comparisons import recovery_bars
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_recovery(
    statistics_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    transfers: Sequence[Mapping[str, str]],
    name: str,
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Draw the recovery of every pair, regime and method."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    figure = recovery_bars(
        statistics,
        transfers=transfers,
        name=name,
        methods=methods,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_recovery(
            snakemake.input.statistics,
            snakemake.output,
            transfers=snakemake.params.transfers,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
