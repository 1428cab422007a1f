"""What has to be computed to run circuits of edges: the rest is known already.

A reader whose kept edges all come from writers without a difference reads what it reads
in the ablated run, and a writer that is read on no way to the logits is not computed.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from circuit_transfer.models.edge_paths import (
    NOWHERE,
    needed,
    reached,
)
from circuit_transfer.models.edges import KINDS, Graph


@dataclass(frozen=True)
class Plan:
    """What circuits that run in one pass compute.

    Attributes:
        graph: of the model.
        kept: the edges of every circuit, bool `(circuits, n_writers, n_readers)`.
        writers: where the difference of every writer is read, `NOWHERE`, `ANSWER` or
            `EVERYWHERE`.
        readers: where every reader is computed, likewise.
    """

    graph: Graph
    kept: np.ndarray
    writers: np.ndarray
    readers: np.ndarray

    @cached_property
    def computed(self) -> np.ndarray:
        """The writers that have to be computed, bool `(n_writers,)`.

        The differences of the others do not depend on the circuit.
        """
        depends = (self.graph.used_by & (self.readers > NOWHERE)).any(1)
        return depends & (self.writers > NOWHERE)

    def stored(self, place: int) -> np.ndarray:
        """Return the writers whose differences are stored at all positions or at one.

        Args:
            place: `EVERYWHERE`, or `ANSWER` for the position of the answer, where those
                that are needed everywhere are read too.
        """
        return np.flatnonzero(self.writers >= place)

    def read(self, numbers: range, place: int) -> np.ndarray:
        """Return which of some readers are computed everywhere, or only at the answer.

        Args:
            numbers: the readers.
            place: `EVERYWHERE` or `ANSWER`.
        """
        own = np.asarray(numbers)
        return own[self.readers[own] == place]

    def attention(self, layer: int, place: int) -> np.ndarray:
        """Return which queries, keys and values of a layer are computed, likewise."""
        every = [self.graph.attention_readers(layer, kind) for kind in KINDS]
        return self.read(range(every[0][0], every[-1][-1] + 1), place)

    def heads(self, layer: int) -> np.ndarray:
        """Return which heads of a layer are computed, numbered within the layer."""
        return np.flatnonzero(self.computed[self.graph.head_writers(layer)])

    def has_mlp(self, layer: int) -> bool:
        """Return whether the MLP of a layer is computed."""
        return bool(self.computed[self.graph.mlp_writer(layer)])


def plan_edges(graph: Graph, circuits: np.ndarray, *, silent: bool) -> Plan:
    """Return what circuits that run in one pass compute.

    Args:
        graph: of the model.
        circuits: bool `(circuits, n_edges)`.
        silent: whether the difference of a writer is zero where all that it reads is
            ablated, as by the counterfactual ablation.
    """
    kept = graph.matrix(circuits, outside=False)
    union = kept.any(0, keepdims=True)
    writers, readers = (each[0] for each in needed(graph, union))
    sources = reached(graph, union)[0][0] if silent else np.ones(len(writers), bool)
    differ = (union[0] & sources[:, None]).any(0)
    return Plan(
        graph,
        kept,
        np.where(sources, writers, NOWHERE),
        np.where(differ, readers, NOWHERE),
    )
