"""Paths through circuits of edges: what the input reaches, and what reaches the logits.

Two sweeps over the layers, each over all circuits at once. Circuits are matrices, bool
`(circuits, n_writers, n_readers)`, see `edges.Graph.matrix`.
"""

import numpy as np

from circuit_transfer.models.edges import KINDS, Graph

# At which positions something is needed.
NOWHERE, ANSWER, EVERYWHERE = 0, 1, 2


def reached(graph: Graph, circuits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the writers and the readers that a path leads to from the input.

    Returns:
        Bool `(circuits, n_writers)` and `(circuits, n_readers)`.
    """
    count, n_writers, n_readers = circuits.shape
    writers = np.zeros((count, n_writers), bool)
    readers = np.zeros((count, n_readers), bool)
    writers[:, 0] = True

    def read(numbers: range) -> np.ndarray:
        seen, own = graph.before[numbers[0]], slice(numbers[0], numbers[-1] + 1)
        kept = circuits[:, :seen, own]
        readers[:, own] = (writers[:, :seen, None] & kept).any(1)
        return readers[:, own]

    for layer in range(graph.layers):
        heads = graph.head_writers(layer)
        for kind in KINDS:
            found = read(graph.attention_readers(layer, kind))
            if graph.coupled and kind in "qk":
                found = found.any(1, keepdims=True)
            writers[:, heads] |= by_head(graph, found)
        mlp = graph.mlp_reader(layer)
        writers[:, graph.mlp_writer(layer)] = read(range(mlp, mlp + 1))[:, 0]
    read(range(n_readers - 1, n_readers))
    return writers, readers


def needed(graph: Graph, circuits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at which positions writers and readers are needed for the answer's logits.

    Queries and MLPs at those of their head or MLP, keys and values at all: a head that
    is needed at the answer's position only attends to all the others.

    Returns:
        int8 `(circuits, n_writers)` and `(circuits, n_readers)`, each `NOWHERE`,
        `ANSWER` or `EVERYWHERE`.
    """
    count, n_writers, n_readers = circuits.shape
    writers = np.zeros((count, n_writers), np.int8)
    readers = np.zeros((count, n_readers), np.int8)
    readers[:, -1] = ANSWER

    def write(numbers: range, first: int) -> np.ndarray:
        own = slice(numbers[0], numbers[-1] + 1)
        kept = circuits[:, own, first:]
        writers[:, own] = (kept * readers[:, None, first:]).max(2)
        return writers[:, own]

    for layer in reversed(range(graph.layers)):
        mlp, writer = graph.mlp_reader(layer), graph.mlp_writer(layer)
        readers[:, mlp] = write(range(writer, writer + 1), mlp + 1)[:, 0]
        # The MLP of the same layer reads the heads, unless it runs in parallel.
        heads = write(graph.head_writers(layer), mlp)
        highest = heads.max(1, keepdims=True)
        queries, keys, values = (graph.attention_readers(layer, kind) for kind in KINDS)
        readers[:, queries] = highest if graph.coupled else heads
        shared = heads.reshape(count, graph.kv_readers, -1).max(2)
        every = highest if graph.coupled else shared
        readers[:, keys] = np.where(every > NOWHERE, EVERYWHERE, NOWHERE)
        readers[:, values] = np.where(shared > NOWHERE, EVERYWHERE, NOWHERE)
    write(range(1), 0)
    return writers, readers


def by_head(graph: Graph, values: np.ndarray) -> np.ndarray:
    """Return for every head the value of its own reader of one kind.

    Args:
        graph: the graph.
        values: of the readers of a kind, `(..., readers)`.

    Returns:
        `(..., heads)`.
    """
    return values.repeat(graph.heads // values.shape[-1], axis=-1)
