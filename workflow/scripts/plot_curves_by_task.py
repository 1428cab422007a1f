"""Draw faithfulness over circuit size on every task."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.curves import curves_by_task
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_curves_by_task(
    curves_path: Path | str,
    statistics_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    target: str,
    name: str,
    method: str,
    tasks: Sequence[str],
    ablation: str,
    source: str | None = None,
) -> None:
    """Draw one pair's curves by one method, a panel per task."""
    curves = read_frame(curves_path).filter(pl.col("ablation") == ablation)
    statistics = read_frame(statistics_path, ["ablation"])
    statistics = statistics.filter(pl.col("ablation") == ablation)
    figure = curves_by_task(
        curves,
        statistics,
        target=target,
        name=name,
        method=method,
        tasks=tasks,
        source=source,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_curves_by_task(
            snakemake.input.curves,
            snakemake.input.statistics,
            snakemake.output,
            target=snakemake.wildcards.target,
            name=snakemake.params.map,
            method=snakemake.wildcards.method,
            tasks=snakemake.params.tasks,
            source=snakemake.wildcards.get("source"),
            ablation=snakemake.params.ablation,
        )
