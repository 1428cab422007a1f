"""What a transfer of node scores and one of edge scores differ in: one row for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.controls import (
    TARGET_ONLY,
    TRAINED_CONTROLS,
    columns_in_any_order,
    depth_heuristic,
    mlps_first,
)
from circuit_transfer.transfer.edge_controls import (
    DEGREE_SOURCE,
    EDGE_TARGET_ONLY,
    TRAINED_EDGE_CONTROLS,
    degree_preserving,
)
from circuit_transfer.transfer.edge_fits import EdgeFit
from circuit_transfer.transfer.edge_maps import (
    EdgeMap,
    edge_kinds,
    lifted_map,
    random_map,
)
from circuit_transfer.transfer.maps import transformed

Fit = Alignment | EdgeFit
Untrained = Callable[[Fit, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Level:
    """What scores are of, and so which maps and controls of them there are.

    Attributes:
        kinds: the kinds of the source's scores `(n_source,)` of a fit, within which
            they are shuffled; None where all are of one.
        mix: returns a map with its columns in the order of a generator.
        random: returns a map that has learned nothing, by the name of a trained one: of
            nodes that map before training, of edges random factors.
        reached: which of the target's scores a map reaches, bool `(n_target,)`.
        trained: the controls that are trained.
        target_only: those that are scores from the target's own runs, `(n_target,)`.
        changes: that of them which says how much a node or edge changes.
        reduced: by control, what is left of a task's scores `(n_source,)` in it; it is
            trained as the others that are.
        untrained: by control, scores of the target `(n_target,)` by rules that know the
            names of a fit's nodes, and the scores of the task if they use them.
    """

    kinds: Callable[[Fit], np.ndarray | None]
    mix: Callable[[Any, np.random.Generator], Any]
    random: Callable[[Fit, str], Any]
    reached: Callable[[Any], np.ndarray]
    trained: tuple[str, ...]
    target_only: tuple[str, ...]
    changes: str
    reduced: Mapping[str, Untrained]
    untrained: Mapping[str, Untrained]


def _spread(fit: Alignment, scores: np.ndarray) -> np.ndarray:
    source, target = fit.metadata["source_nodes"], fit.metadata["target_nodes"]
    return transformed(scores, "max") @ depth_heuristic(source, target)


def _spread_edges(fit: EdgeFit, scores: np.ndarray) -> np.ndarray:
    nodes = depth_heuristic(fit.source.writers[1:], fit.target.writers[1:])
    return transformed(scores, "max") @ lifted_map(nodes, fit.source, fit.target)


def _random(fit: EdgeFit, name: str) -> EdgeMap:
    return random_map(fit.source, fit.target, fit.metadata["seed"])


def _reduced(fit: EdgeFit, scores: np.ndarray) -> np.ndarray:
    return _reduced_once(scores.tobytes(), scores.dtype.str, fit.source)


@lru_cache(maxsize=16)
def _reduced_once(scores: bytes, dtype: str, graph: Graph) -> np.ndarray:
    # The same for the fits of all training sets and seeds, and slow on many edges.
    return degree_preserving(np.frombuffer(scores, dtype), graph)


NODES = Level(
    kinds=lambda fit: None,
    mix=columns_in_any_order,
    random=Alignment.initial,
    reached=lambda matrix: matrix.any(0),
    trained=TRAINED_CONTROLS,
    target_only=TARGET_ONLY,
    changes="node-changes",
    reduced={},
    untrained={
        "depth-heuristic": _spread,
        "mlps-first": lambda fit, scores: mlps_first(fit.metadata["target_nodes"]),
    },
)
EDGES = Level(
    kinds=lambda fit: edge_kinds(fit.source),
    mix=EdgeMap.permuted,
    random=_random,
    reached=EdgeMap.reached,
    trained=TRAINED_EDGE_CONTROLS,
    target_only=EDGE_TARGET_ONLY,
    changes="edge-changes",
    reduced={DEGREE_SOURCE: _reduced},
    untrained={"depth-heuristic": _spread_edges},
)
