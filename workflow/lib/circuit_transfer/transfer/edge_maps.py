"""Maps of edge scores: one matrix for writers, one for readers, never one for edges.

A map of edges turns the matrix `S` of a source model's edge scores `(n_writers,
n_readers)` into `A' S B`, `A` from writers to writers and `B` from readers to readers.
Both are blocks: only what is of one kind is mapped to each other. A full matrix would
have as many entries as the product of the numbers of edges.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from circuit_transfer.models.edges import INPUT, LOGITS, Graph
from circuit_transfer.models.nodes import is_mlp


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """A linear map of edge scores, used like a matrix: `scores @ map`.

    Attributes:
        writers: float32 `(n_writers of the source, n_writers of the target)`.
        readers: float32 `(n_readers of the source, n_readers of the target)`.
        source: the edges of the source.
        target: the edges of the target.
    """

    # So that numpy leaves `scores @ map` to this class.
    __array_ufunc__ = None

    writers: np.ndarray
    readers: np.ndarray
    source: Graph
    target: Graph

    def __rmatmul__(self, scores: np.ndarray) -> np.ndarray:
        """Map scores of the source's edges, `(..., n_edges)`, to the target's."""
        matrix = self.source.matrix(scores, outside=0)
        return self.target.flat(self.writers.T @ matrix @ self.readers)

    def reached(self) -> np.ndarray:
        """Return which edges both ends of have a counterpart, bool `(n_edges,)`."""
        both = np.logical_and.outer(self.writers.any(0), self.readers.any(0))
        return self.target.flat(both)

    def permuted(self, generator: np.random.Generator) -> "EdgeMap":
        """Return the map with its columns in a random order within each kind."""
        writers, readers = writer_kinds(self.target), reader_kinds(self.target)
        return replace(
            self,
            writers=self.writers[:, permutation_within(writers, generator)],
            readers=self.readers[:, permutation_within(readers, generator)],
        )


def writer_kinds(graph: Graph) -> np.ndarray:
    """Return what every writer is: `input`, `head` or `mlp`."""
    kinds = [
        INPUT if name == INPUT else "mlp" if is_mlp(name) else "head"
        for name in graph.writers
    ]
    return np.array(kinds)


def reader_kinds(graph: Graph) -> np.ndarray:
    """Return what every reader is: `q`, `k`, `v`, `mlp` or `logits`."""
    kinds = [
        LOGITS if name == LOGITS else name[-2] if name.endswith(">") else "mlp"
        for name in graph.readers
    ]
    return np.array(kinds)


def edge_kinds(graph: Graph) -> np.ndarray:
    """Return the kinds of both ends of every edge as one number, `(n_edges,)`."""
    ends = (writer_kinds(graph), reader_kinds(graph))
    numbers = [np.unique(each, return_inverse=True)[1] for each in ends]
    writers, readers = graph.ends
    return numbers[0][writers] * (numbers[1].max() + 1) + numbers[1][readers]


def permutation_within(kinds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a random permutation of places that leaves every kind in its places."""
    order = np.arange(len(kinds))
    for kind in np.unique(kinds):
        (own,) = np.nonzero(kinds == kind)
        order[own] = generator.permutation(own)
    return order


def blocks(
    source: Graph, target: Graph, kinds: Callable[[Graph], np.ndarray]
) -> np.ndarray:
    """Return which entries of a matrix a map has: those of two of the same kind.

    Args:
        source: the edges of the source.
        target: the edges of the target.
        kinds: `writer_kinds` or `reader_kinds`.
    """
    return np.equal.outer(kinds(source), kinds(target))


def lifted_map(matrix: np.ndarray, source: Graph, target: Graph) -> EdgeMap:
    """Return the map of edges that a map of nodes gives.

    A writer goes where its node goes, and so does a reader, among those of its kind;
    `input` and `logits` go to themselves. A key or value that several heads share goes
    where they do in the mean, and gets what each of its own heads gets.

    Args:
        matrix: `(n_source, n_target)`, of nodes; see `correspondences`.
        source: the edges of the source.
        target: the edges of the target.
    """
    nodes = np.asarray(matrix, np.float32)
    writers = np.zeros((len(source.writers), len(target.writers)), np.float32)
    writers[0, 0], writers[1:, 1:] = 1, nodes
    used, using = (_users(graph) for graph in (source, target))
    mean = used / np.maximum(used.sum(0), 1)
    readers = mean.T @ writers @ using * blocks(source, target, reader_kinds)
    readers[-1, -1] = 1
    return EdgeMap(writers, readers.astype(np.float32), source, target)


def random_map(source: Graph, target: Graph, seed: int) -> EdgeMap:
    """Return a map of random factors, normal within each kind.

    Args:
        source: the edges of the source.
        target: the edges of the target.
        seed: of the numbers.
    """
    generator = np.random.default_rng(seed)
    factors = [
        np.where(allowed, generator.normal(size=allowed.shape), 0).astype(np.float32)
        for allowed in (
            blocks(source, target, writer_kinds),
            blocks(source, target, reader_kinds),
        )
    ]
    return EdgeMap(*factors, source, target)


def _users(graph: Graph) -> np.ndarray:
    """Return which node a reader belongs to, `(n_writers, n_readers)` of 0 and 1.

    A norm over the queries of all heads does not make one head's those of another.
    """
    return replace(graph, coupled=False).used_by.astype(np.float32)
