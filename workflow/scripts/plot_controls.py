"""Draw aligned circuits beside gold ones and controls."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.comparisons import controls_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_controls(
    statistics_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    name: str,
    methods: Sequence[str],
    controls: Sequence[str],
    ablation: str,
) -> None:
    """Draw the CPR of one pair's circuits and controls."""
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    figure = controls_figure(
        statistics,
        source=source,
        target=target,
        name=name,
        methods=methods,
        controls=controls,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_controls(
            snakemake.input.statistics,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            controls=snakemake.params.controls,
            ablation=snakemake.params.ablation,
        )
