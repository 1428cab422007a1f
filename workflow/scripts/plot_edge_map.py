"""Draw a model's scores of all edges, writers by readers, task by task."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.figures.edge_map import edge_maps
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_edge_map(
    scores_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    model: str,
    edge_method: str,
    tasks: Sequence[str],
) -> None:
    """Draw a model's edge scores by one method, a panel per task.

    Args:
        scores_paths: the scores of every task.
        figure_paths: one path per format.
        model: name of the model.
        edge_method: the method of the scores.
        tasks: in the order of the panels.
    """
    files = map(read_edge_scores, scores_paths)
    found = {each.metadata["task"]: each for each in files}
    scores = {task: found.get(task) for task in tasks}
    save(edge_maps(scores, title=f"{model}, {edge_method}"), *figure_paths)


if __name__ == "__main__":
    run_stage(plot_edge_map, snakemake)
