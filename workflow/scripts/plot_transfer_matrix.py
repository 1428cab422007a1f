"""Draw what training an alignment on one task gives on another."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.comparisons import transfer_matrices
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_transfer_matrix(
    cpr_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    name: str,
    methods: Sequence[str],
    tasks: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablation: str,
) -> None:
    """Draw one pair's matrices of training task against evaluated task."""
    cpr = read_frame(cpr_path).filter(pl.col("ablation") == ablation)
    figure = transfer_matrices(
        cpr,
        source=source,
        target=target,
        name=name,
        methods=methods,
        tasks=tasks,
        families=families,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_transfer_matrix(
            snakemake.input.cpr,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            tasks=snakemake.params.tasks,
            families=snakemake.params.families,
            ablation=snakemake.params.ablation,
        )
