"""What is learned: circuits of edges, and checks that they are circuits at all."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuit_transfer.circuits.edge_masks import edge_circuits, effective_edges
from circuit_transfer.models.edges import Graph

log = logging.getLogger(__name__)

# How far the share of open gates may be from its target, relative to that, without a
# warning.
TOLERANCE = 0.1


@dataclass(frozen=True)
class LearnedEdges:
    """Circuits of edges of several sizes, learned side by side.

    Attributes:
        scores: float32 `(sizes, n_edges)`, a ranking of all edges for each size.
        kept: bool `(sizes, n_edges)`, the circuit of each size.
        open_share: `(sizes,)`, the share of all edges that was open in the end, before
            the exact number of edges was chosen.
        curves: by name, `(sizes, steps)`: `loss`, `kl` and others.
        tensors: others, by name.
        notes: values that JSON can hold.
    """

    scores: np.ndarray
    kept: np.ndarray
    open_share: np.ndarray
    curves: Mapping[str, np.ndarray]
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def exact_circuits(scores: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Return the circuit of each size by the ranking of that size.

    Args:
        scores: `(sizes, n_edges)`; equal scores rank in the order of the edges.
        sizes: shares of all edges.

    Returns:
        Bool `(sizes, n_edges)`, of exactly as many edges as the sizes are, rounded
        down.
    """
    every = edge_circuits(scores, sizes)
    return every[range(len(sizes)), range(len(sizes))]


def check_pruned(
    method: str,
    sizes: Sequence[float],
    open_share: np.ndarray,
    start: np.ndarray,
    remedy: str,
) -> None:
    """Check that gates closed as far as they should.

    Args:
        method: name of the method.
        sizes: the shares of all edges that should be open in the end.
        open_share: the shares that are.
        start: the expected shares in the beginning.
        remedy: which settings to change, with their values.

    Raises:
        ValueError: at no size anything was pruned.
    """
    targets = np.asarray(sizes)
    if (open_share >= start).all():
        raise ValueError(
            f"{method}: nothing was pruned: {start.max():.1%} of the edges were open "
            f"in the beginning and {open_share.min():.1%} in the end, where "
            f"{_percent(targets)} should be; {remedy}"
        )
    for target, share in zip(targets, open_share, strict=True):
        if abs(share - target) > TOLERANCE * target:
            log.warning(
                "%s: %.1f %% of the edges were open in the end, where %.1f %% should "
                "be, so that the circuit of that size is not the one that was trained; "
                "%s",
                *(method, 100 * share, 100 * target, remedy),
            )


def check_effective(
    method: str, graph: Graph, kept: np.ndarray, sizes: Sequence[float], remedy: str
) -> None:
    """Check that circuits connect the input with the logits.

    Args:
        method: name of the method.
        graph: the edges.
        kept: the circuits, bool `(sizes, n_edges)`.
        sizes: the learned sizes.
        remedy: which settings to change, with their values.

    Raises:
        ValueError: none of them does.
    """
    empty = ~effective_edges(graph, kept).any(1)
    names = _percent(np.asarray(sizes)[empty])
    if empty.all():
        raise ValueError(
            f"{method}: the circuits of {names} of the edges are empty: none of their "
            f"edges is on a path from the input to the logits; {remedy}, or learn "
            "larger circuits (pruning.sizes)"
        )
    if empty.any():
        log.warning(
            "%s: the circuit of %s of the edges is empty: none of its edges is on a "
            "path from the input to the logits; %s, or learn larger circuits "
            "(pruning.sizes)",
            *(method, names, remedy),
        )


def _percent(shares: np.ndarray) -> str:
    return ", ".join(f"{100 * share:.3g} %" for share in shares)
