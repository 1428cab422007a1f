"""Draw and tabulate the correlation of the tasks' scores in one model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.figures.nodes import task_correlations
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.task_correlation import task_correlation_table
from circuit_transfer.tables.typesetting import write_table


def plot_task_correlation(
    scores_paths: Iterable[Path | str],
    tables_paths: Sequence[Path | str],
    figures_paths: Iterable[Path | str],
    *,
    model: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> None:
    """Draw the correlations of one model's scores, for every method, and list them."""
    files = [read_scores(path) for path in scores_paths]
    scores = {
        (file.metadata["method"], file.metadata["task"]): file.scores for file in files
    }
    figure = task_correlations(scores, model=model, methods=methods, tasks=tasks)
    save(figure, *figures_paths)
    table = task_correlation_table(scores, methods=methods, tasks=tasks)
    write_table(table, *tables_paths, title=f"Correlation of the tasks in {model}")


if __name__ == "__main__":
    run_stage(plot_task_correlation, snakemake)
