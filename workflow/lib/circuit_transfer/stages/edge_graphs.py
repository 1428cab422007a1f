"""Whether edge scores are of a model's graph; apart, since it needs no torch."""

from pathlib import Path

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.models.edges import Graph


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
