"""Draw how the scores of one model change with the number of steps."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.convergence import convergence_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.convergence import COLUMNS, comparisons


def plot_convergence(
    scores_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    model: str,
    methods: Sequence[str],
    configured: int,
) -> None:
    """Draw all tasks of a model, one path per format."""
    compared = comparisons([read_frame(path, COLUMNS) for path in scores_paths])
    figure = convergence_figure(
        compared, title=model, methods=methods, configured=configured
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    run_stage(plot_convergence, snakemake)
