"""The table of the nodes that matter most to a model on every task."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.statistics import (
    RESAMPLES,
    generator,
    percentile_interval,
    resampling_weights,
)
from circuit_transfer.tables.typesetting import Table

HIGHEST, LOWEST = 10, 5  # nodes of each task and method that are listed
SCHEMA = {
    "task": pl.String,
    "method": pl.String,
    "rank": pl.Int64,
    "node": pl.String,
    "score": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "sign": pl.String,
}
NOTE = (
    f"The {HIGHEST} nodes with the highest scores, and the {LOWEST} with the most "
    "negative ones; rank: among all nodes of the model. a0.h1: head 1 of layer 0, m0: "
    "the MLP of layer 0. A score is the part of the logit difference between right and "
    "wrong answer that attribution ascribes to the node, mean over the training pairs. "
    "low, high: its 95 % confidence interval (bootstrap of distinct pairs of prompts; "
    "none of a single pair). sign: + the node supports the right answer, - it opposes "
    "it; an interval that includes 0 leaves the sign open."
)


def top_nodes_table(
    scores: Mapping[tuple[str, str], Scores],
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """List the nodes with the highest and the most negative scores, by task and method.

    A task without a usable pair has a row of empty cells.

    Args:
        scores: by task and method.
        tasks: in the order of the table.
        methods: in the order of the table.
    """
    lines = [
        {"task": task, "method": method} | line
        for task, method in product(tasks, methods)
        for line in _node_lines(scores[task, method])
    ]
    frame = pl.DataFrame(lines, schema=SCHEMA)
    return Table(frame, labels=4, blocks=2, decimals=score_decimals(frame), note=NOTE)


def score_decimals(frame: pl.DataFrame) -> int:
    """Return how many decimals give the highest score of every task three digits.

    Three at least, and eight at most: the scores of an untrained model are tiny.
    """
    sizes = frame.group_by("task", "method").agg(pl.col("score").abs().max())["score"]
    return decimals_of(sizes.filter(sizes > 0).min())


def decimals_of(score: float | None) -> int:
    """Return how many decimals, from three to eight, give a score three digits."""
    return 3 if not score else int(np.clip(2 - np.floor(np.log10(score)), 3, 8))


def _node_lines(found: Scores) -> list[dict[str, Any]]:
    if np.isnan(found.scores).all():
        return [{}]
    order = np.argsort(-found.scores, kind="stable")
    negative = HIGHEST + np.flatnonzero(found.scores[order[HIGHEST:]] < 0)
    ranks = [*range(min(HIGHEST, len(order))), *negative[-LOWEST:].tolist()]
    shown = order[ranks]
    low, high = score_intervals(found, shown)
    return [
        {
            "rank": rank + 1,
            "node": found.nodes[node],
            "score": float(found.scores[node]),
            "low": None if np.isnan(low[place]) else float(low[place]),
            "high": None if np.isnan(high[place]) else float(high[place]),
            "sign": {1: "+", 0: "0", -1: "-"}[int(np.sign(found.scores[node]))],
        }
        for place, (rank, node) in enumerate(zip(ranks, shown, strict=True))
    ]


def score_intervals(
    found: Scores | EdgeScores, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % confidence intervals of some nodes' scores.

    Args:
        found: the scores; of single examples, for there to be intervals.
        numbers: of the nodes, or of the edges, `(n,)`.

    Returns:
        The lower and the upper bounds, each float64 `(n,)`; NaN where the examples are
        unknown or of one pair of prompts.
    """
    if found.by_example is None:
        return np.full(len(numbers), np.nan), np.full(len(numbers), np.nan)
    clusters = np.array(found.metadata["prompt_numbers"])
    weights = resampling_weights(clusters, RESAMPLES, generator(0))
    draws = weights @ found.by_example[:, numbers].astype(float)
    return percentile_interval(draws.T)
