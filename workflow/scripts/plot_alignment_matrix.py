"""Draw a trained alignment as a heatmap, blocked by layer."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.figures.nodes import alignment_matrix
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_alignment_matrix(
    alignment_path: Path | str, figure_paths: Iterable[Path | str], *, title: str
) -> None:
    """Draw the weights from every source node to every target node."""
    save(alignment_matrix(read_alignment(alignment_path), title=title), *figure_paths)


if __name__ == "__main__":
    names = snakemake.wildcards
    with job(snakemake.log[0]):
        plot_alignment_matrix(
            snakemake.input.alignment,
            snakemake.output,
            title=f"{names.source} → {names.target}, {names.method}",
        )
