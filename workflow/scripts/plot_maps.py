"""Draw every map by the source scores that it is given."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.comparisons import maps_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_maps(
    statistics_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    names: Sequence[str],
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Draw the CPR of one pair's maps."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    figure = maps_figure(
        statistics, source=source, target=target, names=names, methods=methods
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_maps(
            snakemake.input.statistics,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            names=snakemake.params.maps,
            methods=snakemake.params.methods,
            ablation=snakemake.params.ablation,
        )
