"""From a ranking of the edges to circuits, as masks, and what such a mask consists of.

Masks are bool `(..., n_edges)`, in the order of `models.edges.Graph`; there is never an
object for every edge.
"""

from collections.abc import Sequence

import numpy as np

from circuit_transfer.models.edge_paths import NOWHERE, needed, reached
from circuit_transfer.models.edges import Graph
from circuit_transfer.models.nodes import circuit_size

# Entries of the matrices of circuits that are swept together.
ENTRIES = 2**24


def edge_circuits(scores: np.ndarray, proportions: Sequence[float]) -> np.ndarray:
    """Return the circuit of every size for every ranking, highest score first.

    Args:
        scores: `(rankings, n_edges)`; equal scores rank in the order of the edges.
        proportions: shares of the edges to keep, rounded down to whole edges.

    Returns:
        Bool `(rankings, sizes, n_edges)`.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores of edges are NaN, so they have no ranking")
    n_edges = scores.shape[1]
    masks = np.zeros((len(scores), len(proportions), n_edges), bool)
    for ranking, values in enumerate(scores):
        order = np.argsort(-values, kind="stable")
        for size, proportion in enumerate(proportions):
            masks[ranking, size, order[: circuit_size(proportion, n_edges)]] = True
    return masks


def effective_edges(graph: Graph, masks: np.ndarray) -> np.ndarray:
    """Return the edges of circuits that are on a path from the input to the logits.

    By the counterfactual ablation the others change nothing: their writers do what they
    do on the corrupted prompts, or nobody reads them.

    Args:
        graph: the graph.
        masks: bool `(..., n_edges)`.

    Returns:
        Bool `(..., n_edges)`.
    """
    return _pruned(graph, masks, from_input=True)


def read_edges(graph: Graph, masks: np.ndarray) -> np.ndarray:
    """Return the edges of circuits from which a path leads on to the logits.

    By any ablation the others change nothing, since nobody reads them.

    Args:
        graph: the graph.
        masks: bool `(..., n_edges)`.

    Returns:
        Bool `(..., n_edges)`.
    """
    return _pruned(graph, masks, from_input=False)


def _pruned(graph: Graph, masks: np.ndarray, *, from_input: bool) -> np.ndarray:
    flat = masks.reshape(-1, graph.n_edges)
    found = np.empty_like(flat)
    for part in _parts(graph, len(flat)):
        circuits = graph.matrix(flat[part], outside=False)
        paths = (needed(graph, circuits)[1] > NOWHERE)[:, None]
        if from_input:
            paths = paths & reached(graph, circuits)[0][:, :, None]
        found[part] = graph.flat(circuits & paths)
    return found.reshape(masks.shape)


def node_counts(graph: Graph, masks: np.ndarray) -> np.ndarray:
    """Return how many heads and MLPs write an edge of each circuit.

    Of effective edges (see `effective_edges`): how many nodes they connect, since every
    node with an edge that leads to it also writes one.

    Args:
        graph: the graph.
        masks: bool `(..., n_edges)`.

    Returns:
        `(...)`.
    """
    starts = [np.flatnonzero(graph.ends[0] == u) for u in range(len(graph.writers))]
    return sum(masks[..., edges].any(-1).astype(int) for edges in starts[1:])


def node_circuit(graph: Graph, kept: np.ndarray) -> np.ndarray:
    """Return circuits of nodes as circuits of edges: all that these and `input` write.

    Args:
        graph: the graph.
        kept: bool `(..., n_nodes)`, the nodes of every circuit in order.

    Returns:
        Bool `(..., n_edges)`.
    """
    nodes = np.asarray(kept, bool)
    writers = np.concatenate([np.ones((*nodes.shape[:-1], 1), bool), nodes], axis=-1)
    return writers[..., graph.ends[0]]


def lifted(graph: Graph, node_scores: np.ndarray) -> np.ndarray:
    """Return scores of edges that rank them as their nodes are ranked.

    An edge has the score of the lower of the two nodes that it connects; `input` and
    `logits`, which belong to every circuit of nodes, are above all. So the edges down
    to the last one between some of the highest nodes give the circuit of these nodes
    (the others that `node_circuit` has lead to nodes that nobody reads).

    Args:
        graph: the graph.
        node_scores: `(..., n_nodes)`, in the order of the nodes.

    Returns:
        float32 `(..., n_edges)`.
    """
    scores = np.asarray(node_scores, np.float32)
    # Just above all others, by their absolute values too.
    highest = np.abs(scores).max(-1, keepdims=True)
    first = np.nextafter(highest, np.float32(np.inf))
    by_writer = np.concatenate([first, scores], axis=-1)
    # A key that several heads share is needed as soon as one of them is.
    users = np.where(graph.used_by, by_writer[..., None], -np.inf).max(-2)
    by_reader = np.where(graph.used_by.any(0), users, first)
    writers, readers = graph.ends
    lower = np.minimum(by_writer[..., writers], by_reader[..., readers])
    return lower.astype(np.float32)


def _parts(graph: Graph, circuits: int) -> list[slice]:
    at_once = max(1, ENTRIES // (len(graph.writers) * len(graph.readers)))
    return [slice(start, start + at_once) for start in range(0, circuits, at_once)]
