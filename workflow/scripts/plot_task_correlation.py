"""Draw the correlation of the tasks' scores in one model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.figures.nodes import task_correlations
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_task_correlation(
    scores_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    model: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> None:
    """Draw the correlation matrix of one model's scores, for every method."""
    files = [read_scores(path) for path in scores_paths]
    scores = {
        (file.metadata["method"], file.metadata["task"]): file.scores for file in files
    }
    figure = task_correlations(scores, model=model, methods=methods, tasks=tasks)
    save(figure, *figure_paths)


if __name__ == "__main__":
    run_stage(plot_task_correlation, snakemake)
