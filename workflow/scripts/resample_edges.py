"""Resample the examples of a model's circuits of edges; compare seeds."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.edge_masks import EdgeMasks, read_edge_masks
from circuit_transfer.artifacts.edge_scores import EdgeScores, read_edge_scores
from circuit_transfer.artifacts.scores import Scores, read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.tables.edge_curves import LIFTED
from circuit_transfer.tables.edge_stability import (
    resample_rows,
    seed_rows,
    stability_rows,
    stability_table,
)
from circuit_transfer.tables.method_measures import placed_circuits
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)
Rows = Iterator[dict[str, object]]
# By task and method.
Circuits = dict[tuple[str, str], list[np.ndarray]]


def resample_edges(
    model_path: Path | str,
    scores_paths: Iterable[Path | str],
    nodes_paths: Iterable[Path | str],
    masks_paths: Iterable[Path | str],
    resampled_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    model: str,
    proportions: Sequence[float],
    sizes: Sequence[float],
    kv: str,
) -> None:
    """Write how stable circuits of edges are, one path per format.

    Args:
        model_path: description of the model.
        scores_paths: scores of edges of every task and method, in the table's order.
        nodes_paths: scores of nodes, which are lifted to edges.
        masks_paths: learned circuits of every task, method and seed.
        resampled_paths: those of the first seed, learned on resampled pairs.
        table_paths: where the table goes.
        model: the model.
        proportions: the sizes of the circuits.
        sizes: further ones, that circuits are learned for.
        kv: which readers the graph has, see `models.edges`.
    """
    shares, rows, paths = sorted({*proportions, *sizes}), [], [*scores_paths]
    for path in progress(paths, len(paths), "file of scores"):
        scores = read_edge_scores(path)
        if scores.by_example is None:
            log.warning("%s: no scores by example were saved, empty cells", path)
        rows += _resampled(scores, shares)
    graph = described_graph(read_json(model_path), kv)
    for path in nodes_paths:
        of_edges = {LIFTED: partial(lifted, graph)}
        rows += _resampled(read_scores(path), shares, rankings=of_edges)
    learned = (map(read_edge_masks, each) for each in (masks_paths, resampled_paths))
    rows += _of_trainings(*learned, sizes)
    title = f"Stability of circuits of edges, {model}"
    write_table(stability_table(rows), *table_paths, title=title)


def _resampled(scores: EdgeScores | Scores, shares: Sequence[float], **how) -> Rows:
    """Yield how stable the circuits of one file of scores are."""
    numbers = scores.metadata.get("prompt_numbers")
    how["clusters"] = None if numbers is None else np.array(numbers)
    labels = {name: scores.metadata[name] for name in ("task", "method")}
    return stability_rows(scores.by_example, shares, **how, **labels)


def _of_trainings(
    masks: Iterable[EdgeMasks], resampled: Iterable[EdgeMasks], sizes: Sequence[float]
) -> Rows:
    """Yield how similar the learned circuits of seeds are, and those of resamples."""
    kept: Circuits = {}
    stands: dict[str, Sequence[float]] = {}
    for each, placed in placed_circuits([*masks], sizes):
        stands[each.metadata["method"]] = placed
        kept.setdefault(_cell(each), []).append(each.kept_flat)
    drawn: Circuits = {}
    for each in resampled:
        drawn.setdefault(_cell(each), []).append(each.kept_flat)
    for (task, method), circuits in kept.items():
        labels = {"task": task, "method": method}
        yield from seed_rows(circuits, stands[method], **labels)
        if again := drawn.get((task, method)):
            yield from resample_rows(circuits[0], again, stands[method], **labels)


def _cell(masks: EdgeMasks) -> tuple[str, str]:
    return masks.metadata["task"], masks.metadata["method"]


if __name__ == "__main__":
    run_stage(resample_edges, snakemake)
