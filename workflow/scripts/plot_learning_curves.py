"""Draw the curves of training of the learned circuits of a model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.figures.learning_curves import learning_curves
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_learning_curves(
    masks_paths: Iterable[Path | str], figure_paths: Sequence[Path | str], *, model: str
) -> None:
    """Write the figure of all trainings of a model, one path per format."""
    masks = (read_edge_masks(path) for path in masks_paths)
    save(learning_curves(masks, model=model), *figure_paths)


if __name__ == "__main__":
    run_stage(plot_learning_curves, snakemake)
