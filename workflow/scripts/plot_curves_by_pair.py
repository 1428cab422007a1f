"""Draw faithfulness over circuit size for every pair and method."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.curves import curves_by_pair
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_curves_by_pair(
    curves_path: Path | str,
    statistics_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    transfers: Sequence[Mapping[str, str]],
    name: str,
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Draw the curves of all pairs, mean over tasks."""
    curves = read_frame(curves_path).filter(pl.col("ablation") == ablation)
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    figure = curves_by_pair(
        curves,
        statistics,
        transfers=transfers,
        name=name,
        methods=methods,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_curves_by_pair(
            snakemake.input.curves,
            snakemake.input.statistics,
            snakemake.output,
            transfers=snakemake.params.transfers,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
