"""Circuits of nodes as circuits of edges: those between open nodes.

Of the edges from a node, those that lead to closed nodes change nothing. So the
size of a circuit of nodes is the number of edges between its nodes, the input and the
logits, and it compares with a circuit of as many edges.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.circuits.edge_masks import effective_edges, node_circuit
from circuit_transfer.models.edges import Graph
from circuit_transfer.models.nodes import circuit_size


def with_input(nodes: Tensor, outside: float = 1) -> Tensor:
    """Return values of the writers, `(..., n_writers)`, from those of the nodes.

    Args:
        nodes: `(..., n_nodes)`.
        outside: the value of the input.
    """
    return torch.cat([torch.full_like(nodes[..., :1], outside), nodes], -1)


class NodePairs:
    """The two ends of every edge of a graph, as nodes."""

    def __init__(self, graph: Graph, device: torch.device):
        """Prepare for a graph."""
        writers, readers = graph.ends
        self._writers = torch.from_numpy(writers).to(device)
        self._readers = torch.from_numpy(readers).to(device)
        self._users = torch.from_numpy(graph.used_by[1:]).to(device)

    def open_edges(self, nodes: Tensor) -> Tensor:
        """Return the probabilities that edges connect open nodes, `(..., n_edges)`.

        Args:
            nodes: the probabilities that nodes are open, `(..., n_nodes)`. A key that
                several heads share is open if one of them is.
        """
        # Of at most one, so that the gradient of its logarithm is finite.
        closed = (1 - nodes).clamp(min=1e-6).log() @ self._users.to(nodes)
        readers = torch.where(self._users.any(0), 1 - closed.exp(), 1.0)
        return with_input(nodes)[..., self._writers] * readers[..., self._readers]


def largest_circuits(
    graph: Graph, scores: np.ndarray, sizes: Sequence[float]
) -> np.ndarray:
    """Return the largest circuits of the highest nodes with at most so many edges.

    Args:
        graph: the edges.
        scores: of the nodes, a ranking for each size, `(sizes, n_nodes)`; equal scores
            rank in the order of the nodes.
        sizes: shares of all edges.

    Returns:
        Bool `(sizes, n_edges)`: the edges between the nodes of each circuit.
    """
    found = []
    for values, size in zip(scores, sizes, strict=True):
        ranks = np.argsort(np.argsort(-values, kind="stable"), kind="stable")
        nested = ranks < np.arange(len(values) + 1)[:, None]
        between = effective_edges(graph, node_circuit(graph, nested))
        fitting = between.sum(1) <= circuit_size(size, graph.n_edges)
        found.append(between[np.flatnonzero(fitting).max(initial=0)])
    return np.stack(found)
