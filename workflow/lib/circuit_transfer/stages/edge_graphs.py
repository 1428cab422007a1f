"""Whether edge scores are of a model's graph; apart, since it needs no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.edge_scores import EdgeScores, read_edge_scores
from circuit_transfer.models.edges import Graph
from circuit_transfer.models.nodes import circuit_size


def check_graph(scores: EdgeScores, graph: Graph, path: Path | str) -> None:
    """Check that scores are of the edges of a graph.

    Raises:
        ValueError: they are of other writers or readers.
    """
    if (scores.writers, scores.readers) != (graph.writers, graph.readers):
        raise ValueError(
            f"{path}: scores of {len(scores.writers)} writers and "
            f"{len(scores.readers)} readers; expected {len(graph.writers)} and "
            f"{len(graph.readers)}, those of the model: run the stage that scores the "
            "edges again"
        )


def check_sizes(sizes: Sequence[float], graph: Graph, model: str) -> None:
    """Check that a circuit of every size has an edge.

    Args:
        sizes: shares of the edges.
        graph: the graph.
        model: its name, for the message.

    Raises:
        ValueError: one has none.
    """
    for size in sizes:
        if not circuit_size(size, graph.n_edges):
            raise ValueError(
                f"pruning.sizes: {size} of the {graph.n_edges} edges of {model} is no "
                f"edge; expected at least 1/{graph.n_edges}"
            )


def filter_scores(path: Path | str, graph: Graph) -> np.ndarray:
    """Read the scores of a model's edges that tell which edges are trained.

    Args:
        path: of the edge scores.
        graph: of the model.

    Returns:
        float32 `(n_edges,)`.

    Raises:
        ValueError: they are of another model, or not known.
    """
    scores = read_edge_scores(path)
    check_graph(scores, graph, path)
    if np.isnan(scores.flat).any():
        raise ValueError(
            f"{path}: the scores are not known, though the task has pairs; expected "
            "a score of every edge: run the stage that scores the edges again"
        )
    return scores.flat
