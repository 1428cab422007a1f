"""HAP (arXiv 2510.03282): attribution filters the edges, Edge Pruning refines them.

Edges with low absolute scores by another method are left out before the training: they
have no gate and are not computed. The share of open edges is still that of all edges.
"""

from typing import Any

import numpy as np
import torch

from circuit_transfer.artifacts.edge_masks import FILTERED
from circuit_transfer.circuits.edge_masks import edge_circuits, effective_edges
from circuit_transfer.pruning import gates
from circuit_transfer.pruning.gated import GatedEdges
from circuit_transfer.pruning.learned_masks import Setup, trains

HAP = "hap"
# Of the warm start: how steeply the probability that a gate is open rises with the rank
# of its edge, the mean of these probabilities, and the least and greatest of them.
STEEPNESS, MEAN_OPEN, EXTREMES = 0.25, 0.8, (0.02, 0.98)


class FilteredEdges(GatedEdges):
    """Gates of the highest edges by a filter.

    Edges that were filtered out follow all others in the ranking, in the order of the
    filter.
    """

    def __init__(self, setup: Setup):
        """Filter the edges.

        Args:
            setup: what the gates are made from, with the settings `Hap`.

        Raises:
            ValueError: there are no scores to filter by, or the filter leaves fewer
                edges than a circuit has.
        """
        settings, self._filter_scores = setup.settings, _filter_scores(setup)
        _check_size(setup)
        support = filtered(self._filter_scores, settings.keep)
        start = None
        if settings.warm_start == "rank":
            start = rank_start(self._filter_scores[support])
        super().__init__(setup, support=support, log_alpha=start)

    def scores(self) -> np.ndarray:
        """Return what ranks all edges, `(sizes, n_edges)`."""
        return ranked_below(super().scores(), self.support, self._filter_scores)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return which edges the filter leaves: `filtered`, `(n_edges,)`."""
        return {FILTERED: self.support.astype(np.uint8)}

    def notes(self) -> dict[str, Any]:
        """Return the filter's name, and how many edges it leaves.

        With the share of these that are on a path from the input to the logits.
        """
        used = effective_edges(self.graph, self.support).sum() / self.support.sum()
        return {
            "filter": self.settings.filter,
            "filtered_edges": int(self.support.sum()),
            "filtered_effective": float(used),
        }


@trains(HAP)
def filtered_gates(setup: Setup) -> FilteredEdges:
    """`hap`: a gate for the highest edges by a filter."""
    return FilteredEdges(setup)


def filtered(scores: np.ndarray, keep: float) -> np.ndarray:
    """Return the edges that a filter keeps, bool `(n_edges,)`.

    Args:
        scores: of the edges; those with the highest absolute ones are kept.
        keep: their share of all edges, rounded down.
    """
    return edge_circuits(np.abs(scores)[None], [keep])[0, 0]


def rank_start(scores: np.ndarray) -> np.ndarray:
    """Return log alphas that rise with the rank of edges, float `(edges,)`.

    The probability that a gate is open is `sigmoid((q - b) / s)` of the rank q, from 0
    to 1, as in the sequential ensemble of the BlackboxNLP 2025 shared task
    (cisnlp/MIB-circuit-track); b is such that their mean is `MEAN_OPEN`.

    Args:
        scores: of the edges that have a gate; their absolute values rank them.
    """
    order = np.argsort(np.argsort(np.abs(scores), kind="stable"), kind="stable")
    ranks = order / max(1, len(scores) - 1)

    def opened(middle: float) -> np.ndarray:
        """Return the probabilities that gates are open, one half at a rank."""
        found = 1 / (1 + np.exp(-(ranks - middle) / STEEPNESS))
        return found.clip(*EXTREMES)

    low, high = -2.0, 2.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if opened(middle).mean() > MEAN_OPEN else (low, middle)
        )
    return gates.log_alpha_of(torch.from_numpy(opened(low))).numpy()


def ranked_below(
    scores: np.ndarray, support: np.ndarray, filter_scores: np.ndarray
) -> np.ndarray:
    """Return scores of all edges, those outside a support below all others.

    Args:
        scores: of the edges of the support, `(sizes, edges)`.
        support: bool `(n_edges,)`.
        filter_scores: of all edges; their absolute values rank those outside.

    Returns:
        float32 `(sizes, n_edges)`.
    """
    found = np.empty((len(scores), len(support)), np.float32)
    found[:, support] = scores
    outside = np.abs(filter_scores[~support])
    order = np.argsort(np.argsort(-outside, kind="stable"), kind="stable")
    found[:, ~support] = scores.min(1, keepdims=True) - 1 - order
    return found


def _filter_scores(setup: Setup) -> np.ndarray:
    """Return scores to filter by, which must be there for every edge."""
    scores, n_edges = setup.filter_scores, setup.graph.n_edges
    if scores is None or scores.shape != (n_edges,):
        found = None if scores is None else scores.shape
        raise ValueError(
            f"hap filters by scores of edges, and they are {found}: expected "
            f"{n_edges} of the method pruning.hap.filter"
        )
    return scores


def _check_size(setup: Setup) -> None:
    keep, largest = setup.settings.keep, max(setup.sizes)
    if keep < largest:
        raise ValueError(
            f"pruning.hap.keep is {keep:g}, but a circuit of {largest:g} of the "
            "edges is learned (pruning.sizes): expected a filter that keeps at least "
            "as many"
        )
