"""Draw a trained alignment as a heatmap, blocked by layer."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.figures.nodes import alignment_matrix
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_alignment_matrix(
    alignment_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    method: str,
) -> None:
    """Draw the weights from every source node to every target node."""
    title = f"{source} → {target}, {method}"
    save(alignment_matrix(read_alignment(alignment_path), title=title), *figure_paths)


if __name__ == "__main__":
    run_stage(plot_alignment_matrix, snakemake)
