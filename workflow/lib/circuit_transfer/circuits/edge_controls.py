"""What circuits of edges are compared with: edges in random order."""

import numpy as np

from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import Graph

# Seeds of the random circuits that are grown to the effective size of every circuit.
GROWN = range(3)


def random_edge_scores(graph: Graph, seed: int) -> np.ndarray:
    """Return scores that rank the edges in random order, float32 `(n_edges,)`."""
    # Whole numbers, all different, up to 16 million of them.
    order = np.random.default_rng(seed).permutation(graph.n_edges)
    return order.astype(np.float32)


def grown_circuits(graph: Graph, effective: np.ndarray, seed: int) -> np.ndarray:
    """Return random circuits with as many effective edges as others have.

    Few of some random edges are on a path from the input to the logits, so that random
    circuits of the same number of edges compare with far less than the number says.
    Edges in random order are added until at least as many are effective.

    Args:
        graph: the graph.
        effective: how many edges are effective in every circuit, `(circuits,)`.
        seed: of the order.

    Returns:
        Bool `(circuits, n_edges)`; empty where no edge is effective.
    """
    rank = random_edge_scores(graph, seed).astype(int)
    low, high = np.zeros(len(effective), int), np.full(len(effective), graph.n_edges)
    # The number of effective edges never falls as edges are added.
    while (low < high).any():
        middle = (low + high) // 2
        masks = rank < middle[:, None]
        enough = effective_edges(graph, masks).sum(1) >= effective
        high, low = np.where(enough, middle, high), np.where(enough, low, middle + 1)
    return rank < low[:, None]


def rankings_of(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return the two rankings that scores give, float32 `(n_edges,)` each.

    By `signed` score the edges that support the answer come first; by `absolute` score
    those that matter, which a circuit needs where parts of it reduce the effect of
    others.
    """
    return {"signed": scores, "absolute": np.abs(scores)}


def ranked(scores: np.ndarray, ranking: str) -> np.ndarray:
    """Return scores by which edges rank, float32 `(n_edges,)`.

    Args:
        scores: `(n_edges,)`.
        ranking: `signed` or `absolute`, see `rankings_of`.

    Raises:
        ValueError: it is neither.
    """
    rankings = rankings_of(scores)
    if ranking not in rankings:
        raise ValueError(f"ranking {ranking!r}: expected {' or '.join(rankings)}")
    return rankings[ranking]
