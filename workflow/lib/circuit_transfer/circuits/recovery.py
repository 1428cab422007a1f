"""How well the scores of edges find a circuit that is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

SIGNED, ABSOLUTE, LIFTED = "signed", "absolute", "lifted"
# Of learned circuits: not a ranking, but the edges that are open in the end.
OPEN = "open"
# The share of the largest score that the score of an important edge has at least.
VISIBLE = 0.01
MEASURES = {
    "auroc": pl.Float64,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "visible_precision": pl.Float64,
    "visible_recall": pl.Float64,
}
# Of parts that back each other up, of how many the circuit has none, one or several.
BACKUPS = ("none_kept", "one_kept", "several_kept")
# The recall of the edges that a filter leaves, of which a circuit is learned.
FILTER_RECALL = "filter_recall"
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
    "seed": pl.Int64,
    **dict.fromkeys(BACKUPS, pl.Int64),
    FILTER_RECALL: pl.Float64,
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
    truth, sizes = _truth(names, circuit)
    return [
        {"ranking": name, **sizes, **recovery(values, truth)}
        for name, values in scores.items()
    ]


def open_row(
    names: Sequence[str],
    kept: np.ndarray,
    circuit: Sequence[str],
    alternatives: Sequence[Sequence[Sequence[str]]] = (),
) -> dict[str, Any]:
    """Compare edges that a method has left open with a circuit.

    Args:
        names: of the edges.
        kept: which are open, bool `(n_edges,)`.
        circuit: names of the edges of the circuit.
        alternatives: groups of sets of these edges, of which one set suffices.

    Returns:
        `ranking`, `n_edges`, `n_true`, `precision` (null if no edge is open); `recall`,
        of each group that of the set of which most is kept; where there are groups,
        `BACKUPS`.

    Raises:
        ValueError: there is no such edge.
    """
    truth, sizes = _truth(names, circuit)
    found = set(np.asarray(names)[kept])
    backed_up = {name for group in alternatives for edges in group for name in edges}
    needed = set(circuit) - backed_up
    whole = []
    for group in alternatives:
        needed |= set(max(group, key=lambda edges: len(found & {*edges}) / len(edges)))
        whole.append(min(2, sum({*edges} <= found for edges in group)))
    row = {"ranking": OPEN, **sizes, **dict.fromkeys(MEASURES)}
    row["precision"] = float(truth[kept].mean()) if kept.any() else None
    row["recall"] = len(needed & found) / len(needed)
    if alternatives:
        row |= {name: whole.count(count) for count, name in enumerate(BACKUPS)}
    return row


def learned_size(sizes: Sequence[float], share: float) -> int:
    """Return the position of the smallest size that holds a circuit, or of the largest.

    Args:
        sizes: shares of all edges that circuits were learned for.
        share: that of the circuit.
    """
    holding = [number for number, size in enumerate(sizes) if size >= share]
    return min(holding, key=lambda n: sizes[n]) if holding else int(np.argmax(sizes))


def _truth(
    names: Sequence[str], circuit: Sequence[str]
) -> tuple[np.ndarray, dict[str, int]]:
    if unknown := set(circuit) - set(names):
        raise ValueError(
            f"{min(unknown)} of the planted circuit is not an edge of the scores; "
            "expected scores of the model with the circuit"
        )
    truth = np.isin(names, circuit)
    return truth, {"n_edges": len(names), "n_true": int(truth.sum())}
