"""Resample the attribution examples of a model's circuits of edges."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.edge_stability import stability_rows, stability_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def resample_edges(
    scores_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    model: str,
    proportions: Sequence[float],
) -> None:
    """Write how stable circuits of edges are, one path per format.

    Args:
        scores_paths: scores of edges of every task and method, in the table's order.
        table_paths: where the table goes.
        model: the model.
        proportions: the sizes of the circuits.
    """
    rows, paths = [], [*scores_paths]
    for path in progress(paths, len(paths), "file of scores"):
        scores = read_edge_scores(path)
        labels = {name: scores.metadata[name] for name in ("task", "method")}
        numbers = scores.metadata.get("prompt_numbers")
        clusters = None if numbers is None else np.array(numbers)
        if scores.by_example is None:
            log.warning("%s: no scores by example were saved, empty cells", path)
        rows += stability_rows(
            scores.by_example, proportions, clusters=clusters, **labels
        )
    title = f"Stability of circuits of edges, {model}"
    write_table(stability_table(rows), *table_paths, title=title)


if __name__ == "__main__":
    run_stage(resample_edges, snakemake)
