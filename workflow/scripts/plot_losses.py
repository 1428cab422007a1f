"""Draw how the loss fell in every fit of one pair and method."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.circuits.methods import node_methods
from circuit_transfer.figures.losses import losses
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.transfer.edge_fits import read_edge_fit


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
    read_fit = read_alignment if method in node_methods() else read_edge_fit
    figure = losses(map(read_fit, alignments_paths), title=title)
    save(figure, *figure_paths)


if __name__ == "__main__":
    run_stage(plot_losses, snakemake)
