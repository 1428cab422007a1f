"""Measure what all rankings of edges give at the sizes of learned circuits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.circuits.edge_controls import rankings_of
from circuit_transfer.circuits.edge_masks import edge_circuits, lifted
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.stages.edges import (
    FOUND,
    LABELS,
    evaluate_edge_circuits,
    labelled,
)

LIFTED = pl.col("control") == "lifted"


def evaluate_at_sizes(
    model_path: Path | str,
    pairs_path: Path | str,
    edges_paths: Iterable[Path | str],
    nodes_paths: Iterable[Path | str],
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    sizes: Sequence[float],
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read scores of edges and nodes, write faithfulness of their circuits of edges.

    Of edges by signed and by absolute score, of nodes lifted to edges, all with their
    complements. `sizes` are those that circuits are learned for, `settings` those of
    `evaluate_edge_circuits`.
    """
    graph = described_graph(read_description(model_path), kv)
    frames, masks = [pl.DataFrame(schema=LABELS)], [np.zeros((0, graph.n_edges), bool)]
    own = {"target": target, "task": task, "own_size": True}
    for labels, scores in _rankings(graph, edges_paths, nodes_paths):
        if np.isfinite(scores).all():
            frames.append(labelled(sizes, **own, **labels))
            masks += [*edge_circuits(scores[None], sizes)]
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.concat(frames), np.concatenate(masks)
    how = {"kv": kv, "settings": settings, "resume": resume}
    evaluate_edge_circuits(*paths, *every, **how, complement_of=FOUND | LIFTED)


def _rankings(
    graph: Graph, edges_paths: Iterable[Path | str], nodes_paths: Iterable[Path | str]
) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yield the labels of every ranking, and its scores of the edges."""
    for path in edges_paths:
        found = read_edge_scores(path)
        check_graph(found, graph, path)
        labels = {"method": found.metadata["method"], "control": "none"}
        for ranking, scores in rankings_of(found.flat).items():
            yield labels | {"ranking": ranking}, scores
    for path in nodes_paths:
        scores = read_scores(path)
        labels = {"method": scores.metadata["method"], "control": "lifted"}
        yield labels | {"ranking": "signed"}, lifted(graph, scores.scores)


if __name__ == "__main__":
    run_stage(evaluate_at_sizes, snakemake)
