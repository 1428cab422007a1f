"""Draw a model's own scores on its layers and heads, task by task."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.figures.nodes import gold_node_maps
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_gold_node_map(
    scores_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    target: str,
    method: str,
    tasks: Sequence[str],
) -> None:
    """Draw a model's scores by one method, a panel per task.

    Args:
        scores_paths: the scores of every task.
        figure_paths: one path per format.
        target: name of the model.
        method: the attribution method of the scores.
        tasks: in the order of the panels.
    """
    found = {each.metadata["task"]: each for each in map(read_scores, scores_paths)}
    scores = {task: found.get(task) for task in tasks}
    save(gold_node_maps(scores, title=f"{target}, {method}"), *figure_paths)


if __name__ == "__main__":
    run_stage(plot_gold_node_map, snakemake)
