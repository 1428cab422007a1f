"""Draw source, gold and aligned scores on the models' layers and heads."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.scores import Scores, read_scores
from circuit_transfer.figures.nodes import node_maps, project
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_node_map(
    source_paths: Iterable[Path | str],
    gold_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    method: str,
    tasks: Sequence[str],
) -> None:
    """Draw one pair's scores by one method, a row per task.

    Args:
        source_paths: the source model's scores of every task.
        gold_paths: the target model's scores of every task.
        alignments_paths: alignments by one seed; those trained on a task alone and on
            all but a task are drawn, where they are there.
        figure_paths: one path per format.
        source: name of the source model.
        target: name of the target model.
        method: the attribution method of the scores.
        tasks: in the order of the rows.
    """
    sources, golds = _by_task(source_paths), _by_task(gold_paths)
    fits = {
        fit.metadata["training_set"]: fit
        for fit in map(read_alignment, alignments_paths)
    }

    def aligned(task: str, training_set: str) -> Scores | None:
        fit = fits.get(training_set)
        return project(sources[task], fit) if fit and task in sources else None

    maps = {
        task: {
            f"source {source}": sources.get(task),
            f"gold {target}": golds.get(task),
            "aligned, zero-shot": aligned(task, f"without-{task}"),
            "aligned, in-distribution": aligned(task, f"only-{task}"),
        }
        for task in tasks
    }
    figure = node_maps(maps, title=f"{source} → {target}, {method}")
    save(figure, *figure_paths)


def _by_task(paths: Iterable[Path | str]) -> dict[str, Scores]:
    files = [read_scores(path) for path in paths]
    return {file.metadata["task"]: file for file in files}


if __name__ == "__main__":
    run_stage(plot_node_map, snakemake)
