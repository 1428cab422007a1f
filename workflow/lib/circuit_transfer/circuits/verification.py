"""How well scores of edges agree with the effects of ablating these edges."""

from collections.abc import Mapping

import numpy as np

from circuit_transfer.circuits.similarity import pearson, spearman


def highest_edges(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the highest edges by absolute score, highest first.

    Args:
        scores: `(n_edges,)`; equal ones rank in the order of the edges.
        count: how many; all if there are fewer.
    """
    return np.argsort(-np.abs(scores), kind="stable")[:count]


def agreement(scores: np.ndarray, exact: np.ndarray) -> Mapping[str, float]:
    """Return how scores agree with exact effects of the same edges `(edges,)`.

    Returns:
        `spearman` and `pearson` correlations, NaN where one of them is constant, and
        `sign`, the share of the edges with the same sign.
    """
    return {
        "spearman": spearman(scores, exact),
        "pearson": pearson(scores, exact),
        "sign": float((np.sign(scores) == np.sign(exact)).mean()) if len(exact) else 0,
    }
