"""How well the scores of edges find a circuit that is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

SIGNED, ABSOLUTE, LIFTED = "signed", "absolute", "lifted"
# The share of the largest score that the score of an important edge has at least.
VISIBLE = 0.01
MEASURES = {
    "auroc": pl.Float64,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "visible_precision": pl.Float64,
    "visible_recall": pl.Float64,
}
# `control` is `lifted` where the scores are those of nodes, else `none`.
COLUMNS = {
    "model": pl.String,
    "task": pl.String,
    "method": pl.String,
    "control": pl.String,
    "ranking": pl.String,
    "n_edges": pl.Int64,
    "n_true": pl.Int64,
    **MEASURES,
}


def recovery(scores: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Compare a ranking with the true circuit.

    Args:
        scores: `(n_edges,)`, the highest first; equal ones in their order.
            NaN where no pair was usable.
        truth: which edges belong to the circuit, bool `(n_edges,)`.

    Returns:
        `auroc`, the probability that an edge of the circuit has a higher score than
        another edge, of equal scores one half (null if there is no other edge);
        `precision` and `recall` of as many edges as the circuit has, which are equal;
        `visible_precision` (null if there are none) and `visible_recall` of all edges
        with a score that is not small beside the largest one, see `VISIBLE`. All null
        without scores.
    """
    if np.isnan(scores).any():
        return dict.fromkeys(MEASURES)
    size, others = int(truth.sum()), int((~truth).sum())
    above = rankdata(scores)[truth].sum() - size * (size + 1) / 2
    right = truth[np.argsort(-scores, kind="stable")[:size]].sum() / size
    visible = scores >= VISIBLE * np.abs(scores).max()
    both = (truth & visible).sum()
    return {
        "auroc": float(above / (size * others)) if others else None,
        "precision": float(right),
        "recall": float(right),
        "visible_precision": float(both / visible.sum()) if visible.any() else None,
        "visible_recall": float(both / size),
    }


def rankings(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores as they are and by their size, by the name of the ranking."""
    return {SIGNED: scores, ABSOLUTE: np.abs(scores)}


def recovery_rows(
    names: Sequence[str], scores: Mapping[str, np.ndarray], circuit: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare rankings of edges with a circuit.

    Args:
        names: of the edges.
        scores: `(n_edges,)` by the name of the ranking, see `rankings`.
        circuit: names of the edges of the circuit.

    Returns:
        By ranking a row of `ranking`, `n_edges`, `n_true` and `MEASURES`.

    Raises:
        ValueError: there is no such edge.
    """
    if unknown := set(circuit) - set(names):
        raise ValueError(
            f"{min(unknown)} of the planted circuit is not an edge of the scores; "
            "expected scores of the model with the circuit"
        )
    truth = np.isin(names, circuit)
    sizes = {"n_edges": len(names), "n_true": int(truth.sum())}
    return [
        {"ranking": name, **sizes, **recovery(values, truth)}
        for name, values in scores.items()
    ]
