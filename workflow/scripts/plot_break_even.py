"""Draw what new tasks cost by transfer and by direct attribution."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.costs import break_even_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_break_even(
    break_even_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    methods: Sequence[str],
) -> None:
    """Draw the cumulative costs of one pair by every method."""
    balance = read_frame(break_even_path)
    figure = break_even_figure(balance, source=source, target=target, methods=methods)
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_break_even(
            snakemake.input.break_even,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            methods=snakemake.params.methods,
        )
