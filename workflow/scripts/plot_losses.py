"""Draw how the loss fell in every fit of one pair and method."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.figures.losses import losses
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_losses(
    alignments_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    method: str,
) -> None:
    """Draw divergence and total loss over the steps of all training sets and seeds."""
    title = f"{source} → {target}, {method}"
    figure = losses(map(read_alignment, alignments_paths), title=title)
    save(figure, *figure_paths)


if __name__ == "__main__":
    run_stage(plot_losses, snakemake)
