"""A model with a planted circuit, and which edges belong to the circuit."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from circuit_transfer.models.edges import INPUT, LOGITS, Graph


@dataclass(frozen=True)
class Planted:
    """A model whose circuit is known.

    Attributes:
        model: in float64, with the weights in which the circuit was written.
        task: name of the generator whose prompts it answers.
        circuits: names of the edges that matter, by the kind of corrupted prompt
            (a counterfactual of the generator), then by the `kv` of the graph.
    """

    model: PreTrainedModel
    task: str
    circuits: Mapping[str, Mapping[str, tuple[str, ...]]]


def on_paths(graph: Graph, edges: np.ndarray) -> np.ndarray:
    """Return which of some edges are on a path from the input to the logits.

    Args:
        graph: the graph of the model.
        edges: bool `(n_writers, n_readers)`.

    Returns:
        Bool of the same shape.
    """
    reached = np.array([name == INPUT for name in graph.writers])
    useful = np.array([name == LOGITS for name in graph.readers])
    # A path has at most as many edges as there are writers.
    for _ in graph.writers:
        reached |= graph.used_by @ (edges.T @ reached)
        useful |= graph.used_by.T @ (edges @ useful)
    return edges & reached[:, None] & useful


def by_query_head(kv_graph: Graph, graph: Graph, edges: np.ndarray) -> np.ndarray:
    """Return edges of the graph by key-value head as edges of that by query head."""
    group = graph.kv_readers // kv_graph.kv_readers
    columns = []
    for layer in range(graph.layers):
        columns += kv_graph.attention_readers(layer, "q")
        for kind in "kv":
            shared = kv_graph.attention_readers(layer, kind)
            columns += np.repeat(shared, group).tolist()
        columns.append(kv_graph.mlp_reader(layer))
    return edges[:, [*columns, len(kv_graph.readers) - 1]]
