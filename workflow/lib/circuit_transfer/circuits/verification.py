"""How well scores of edges agree with the effects of ablating these edges."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

from circuit_transfer.circuits.similarity import pearson, spearman
from circuit_transfer.statistics import generator, percentile_interval

RESAMPLES = 1000
# Numbers that are resampled at a time.
ENTRIES = 2**22


def highest_edges(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the highest edges by absolute score, highest first.

    Args:
        scores: `(n_edges,)`; equal ones rank in the order of the edges.
        count: how many; all if there are fewer.
    """
    return np.argsort(-np.abs(scores), kind="stable")[:count]


def verify_scores(
    scores: np.ndarray, exact: np.ndarray, total: float | None = None
) -> dict[str, float]:
    """Return how scores agree with exact effects of the same edges.

    Intervals are those of a bootstrap over the edges, 95 %: they say how the
    correlation would vary with other edges, not with other examples.

    Args:
        scores: `(edges,)`, at least one.
        exact: likewise.
        total: the sum of the absolute scores of all edges of the model.

    Returns:
        `pearson` and `spearman`, NaN where scores or effects are constant, with the
        bounds `pearson_low`, `pearson_high` and so on; `sign`, the share of the edges
        with the same sign; with a total, `covered`, the share of it that these edges
        have.
    """
    scores, exact = (np.asarray(each, np.float64) for each in (scores, exact))
    found = {"pearson": pearson(scores, exact), "spearman": spearman(scores, exact)}
    draws = np.concatenate([*_resampled(scores, exact)], axis=1)
    low, high = percentile_interval(draws)
    for number, name in enumerate(("pearson", "spearman")):
        found |= {f"{name}_low": low[number], f"{name}_high": high[number]}
    found["sign"] = (np.sign(scores) == np.sign(exact)).mean()
    if total:
        found["covered"] = np.abs(scores).sum() / total
    return {name: float(value) for name, value in found.items()}


def _resampled(scores: np.ndarray, exact: np.ndarray) -> Iterator[np.ndarray]:
    """Yield Pearson and Spearman correlations of resampled edges, `(2, resamples)`."""
    random, at_once = generator("verify"), max(1, ENTRIES // len(scores))
    for first in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - first)
        drawn = random.integers(len(scores), size=(count, len(scores)))
        left, right = scores[drawn], exact[drawn]
        ranks = rankdata(left, axis=1), rankdata(right, axis=1)
        yield np.stack([_by_row(left, right), _by_row(*ranks)])


def _by_row(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the correlation of every two rows; NaN where one of them is constant."""
    varied = (np.ptp(left, axis=1) > 0) & (np.ptp(right, axis=1) > 0)
    left, right = (each - each.mean(1, keepdims=True) for each in (left, right))
    scale = np.sqrt((left**2).sum(1) * (right**2).sum(1))
    return np.where(varied, (left * right).sum(1) / np.where(varied, scale, 1), np.nan)
