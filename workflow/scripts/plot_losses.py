"""Draw how the loss fell in every fit of one pair and method."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.figures.curves import losses
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_losses(
    alignment_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    title: str,
) -> None:
    """Draw divergence and total loss over the steps of all training sets and seeds."""
    figure = losses(map(read_alignment, alignment_paths), title=title)
    save(figure, *figure_paths)


if __name__ == "__main__":
    names = snakemake.wildcards
    with job(snakemake.log[0]):
        plot_losses(
            snakemake.input.alignments,
            snakemake.output,
            title=f"{names.source} → {names.target}, {names.method}",
        )
