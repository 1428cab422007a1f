"""A model with a planted circuit, and which edges belong to the circuit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from transformers import PreTrainedModel

from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import (
    KV_HEAD,
    QUERY_HEAD,
    Graph,
    config_graph,
)

# Groups of sets of edges; of each group, one set suffices.
Groups = tuple[tuple[tuple[str, ...], ...], ...]


@dataclass(frozen=True)
class Planted:
    """A model whose circuit is known.

    Attributes:
        model: in float64, with the weights in which the circuit was written.
        circuits: names of the edges that matter, by the kind of corrupted prompt
            (a counterfactual of the generator), then by the `kv` of the graph.
        weights: of linear edges, `(n_writers, n_readers)` by key-value head; None where
            nodes are not linear.
        alternatives: sets of edges of which one suffices, the others being backups, by
            kind of corrupted prompt and `kv` like the circuits: groups of sets. What
            is in no set is needed in any case. Nothing where there is no backup.
    """

    model: PreTrainedModel
    circuits: Mapping[str, Mapping[str, tuple[str, ...]]]
    weights: np.ndarray | None = None
    alternatives: Mapping[str, Mapping[str, Groups]] = field(default_factory=dict)


def circuit_names(model: PreTrainedModel, edges: np.ndarray) -> dict:
    """Return the names of the planted edges on a path to the logits, by `kv`.

    Args:
        model: the model.
        edges: bool `(n_writers, n_readers)` of its graph by key-value head.
    """
    # A norm over the queries of all heads is linear here, and does not couple them.
    kv_graph, graph = (
        replace(config_graph(model.config, kv), coupled=False)
        for kv in (KV_HEAD, QUERY_HEAD)
    )
    found = {
        KV_HEAD: (kv_graph, edges),
        QUERY_HEAD: (graph, by_query_head(kv_graph, graph, edges)),
    }
    return {kv: _on_paths(each, kept) for kv, (each, kept) in found.items()}


def _on_paths(graph: Graph, edges: np.ndarray) -> tuple[str, ...]:
    kept = effective_edges(graph, graph.flat(edges))
    pairs = zip(graph.edge_names(), kept, strict=True)
    return tuple(name for name, keep in pairs if keep)


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
