"""Edges from elsewhere: a ranking of all of them, or one circuit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_transfer.circuits.edge_controls import rankings_of
from circuit_transfer.messages import quoted, some
from circuit_transfer.models.edges import Graph

LARGEST = float(np.finfo(np.float32).max)
SIGNED, ABSOLUTE = "signed", "absolute"


@dataclass(frozen=True)
class ImportedEdges:
    """The edges of a model in a file of another project.

    Attributes:
        graph: the edges that they are of.
        scores: float32 `(n_edges,)`, a higher one ranks first; None for a circuit.
        circuit: which edges are inside, bool `(n_edges,)`; None for a ranking.
        rankings: by the scores themselves (`signed`), by their magnitude (`absolute`).
    """

    graph: Graph
    scores: np.ndarray | None = None
    circuit: np.ndarray | None = None
    rankings: tuple[str, ...] = (SIGNED, ABSOLUTE)

    def ranked(self) -> dict[str, np.ndarray]:
        """Return the scores that rank the edges, float32 `(n_edges,)`, by ranking.

        There are none where the scores are not known, and by magnitude none where no
        score is negative: these would give the same ranking.
        """
        if not self.is_known:
            return {}
        same = bool((self.scores >= 0).all())
        names = [name for name in self.rankings if name == SIGNED or not same]
        return {name: rankings_of(self.scores)[name] for name in names}

    @property
    def is_known(self) -> bool:
        """Whether there is a circuit, or a score of every edge."""
        return self.scores is None or bool(np.isfinite(self.scores).all())


def first_edges(graph: Graph, where: np.ndarray) -> str:
    """Name the first of the edges at which a bool `(n_edges,)` is true, and count."""
    numbers = np.flatnonzero(where)
    writers, readers = (each[numbers[:4]] for each in graph.ends)
    names = [
        f"{graph.writers[u]}->{graph.readers[v]}"
        for u, v in zip(writers, readers, strict=True)
    ]
    return some([*names, *[""] * (len(numbers) - len(names))])


def arrays_of(
    tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], hint: str = ""
) -> dict[str, np.ndarray]:
    """Return named tensors of given shapes as finite numbers, float64.

    Args:
        tensors: arrays, or nested lists from JSON.
        shapes: by name, the shape that is expected.
        hint: what may be done about another shape, for messages.

    Raises:
        ValueError: one is missing, has another shape, or holds what is not a finite
            number.
    """
    if missing := [name for name in shapes if name not in tensors]:
        raise ValueError(f"no tensor {some(missing)}")
    return {n: _array(n, tensors[n], shape, hint) for n, shape in shapes.items()}


def _array(name: str, value: Any, shape: tuple[int, ...], hint: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"tensor {name}: not an array of numbers ({quoted(error)})"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"tensor {name}: not an array of numbers alone")
    if array.shape != shape:
        raise ValueError(
            f"tensor {name}: shape {array.shape}, expected {shape} for this model{hint}"
        )
    array = array.astype(np.float64)
    if not (np.abs(array) <= LARGEST).all():
        raise ValueError(f"tensor {name}: not finite in float32")
    return array


def check_names(names: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Check that a file has no tensors of another model.

    Raises:
        ValueError: some are not expected.
    """
    if foreign := sorted(set(names) - set(expected)):
        raise ValueError(f"{what} that this model does not have: {some(foreign)}")
