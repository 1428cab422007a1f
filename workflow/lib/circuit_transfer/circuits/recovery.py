"""How well the scores of edges find a circuit that is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

from circuit_transfer.artifacts.edge_scores import EdgeScores

SIGNED, ABSOLUTE = "signed", "absolute"
MEASURES = {
    "auroc": pl.Float64,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "recall_twice": pl.Float64,
}
COLUMNS = {
    "model": pl.String,
    "task": pl.String,
    "method": pl.String,
    "ranking": pl.String,
    "n_edges": pl.Int64,
    "n_true": pl.Int64,
    **MEASURES,
}


def recovery(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare a ranking with the true circuit.

    Args:
        scores: `(n_edges,)`, the highest first; equal ones in their order.
        truth: which edges belong to the circuit, bool `(n_edges,)`; some, not all.

    Returns:
        `auroc`, the probability that an edge of the circuit has a higher score than
        another edge, of equal scores one half; `precision` and `recall` of as many
        edges as the circuit has, which are equal; `recall_twice` of twice as many.
    """
    size, others = int(truth.sum()), int((~truth).sum())
    above = rankdata(scores)[truth].sum() - size * (size + 1) / 2
    found = truth[np.argsort(-scores, kind="stable")].cumsum()
    right = float(found[size - 1])
    return {
        "auroc": float(above / (size * others)),
        "precision": right / size,
        "recall": right / size,
        "recall_twice": float(found[: 2 * size][-1] / size),
    }


def recovery_rows(scores: EdgeScores, circuit: Sequence[str]) -> list[dict[str, Any]]:
    """Compare the signed and the absolute ranking of some scores with a circuit.

    Args:
        scores: of a model on a task by a method.
        circuit: names of the edges of the circuit.

    Returns:
        A row of `COLUMNS` for each ranking.

    Raises:
        ValueError: the model has no such edge.
    """
    readers, writers = np.nonzero(scores.legal.T)
    pairs = zip(writers, readers, strict=True)
    names = [f"{scores.writers[u]}->{scores.readers[v]}" for u, v in pairs]
    if unknown := set(circuit) - set(names):
        raise ValueError(
            f"planted circuit: {min(unknown)} is not an edge of the scores by "
            f"{scores.metadata['kv']}"
        )
    truth = np.isin(names, circuit)
    labels = {key: scores.metadata[key] for key in ("model", "task", "method")}
    sizes = {"n_edges": len(names), "n_true": int(truth.sum())}
    rankings = {SIGNED: scores.flat, ABSOLUTE: np.abs(scores.flat)}
    return [
        {**labels, "ranking": name, **sizes, **recovery(values, truth)}
        for name, values in rankings.items()
    ]
