"""The table of the edges that matter most to a model on every task."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.tables.circuit_edges import LINE, edge_lines, highest
from circuit_transfer.tables.top_nodes import HIGHEST, LOWEST, score_decimals
from circuit_transfer.tables.typesetting import Table

SHOWN = ("edge", "score", "low", "high", "sign")
SCHEMA = {
    **dict.fromkeys(("task", "method"), pl.String),
    "rank": pl.Int64,
    **{name: LINE[name] for name in SHOWN},
}
NOTE = (
    f"The {HIGHEST} edges with the highest scores, and the {LOWEST} with the most "
    "negative ones; rank: among all edges of the model. a0.h1->a1.h2<q>: from head 1 "
    "of layer 0 to the queries (k: keys, v: values) of head 2 of layer 1; m0: the MLP "
    "of layer 0. A score is how much the logit difference between right and wrong "
    "answer is predicted to drop when only this edge is ablated, mean over the "
    "training pairs. low, high: its 95 % confidence interval (bootstrap of distinct "
    "pairs of prompts; none of a single pair, nor where the scores of single examples "
    "were not saved). sign: + the edge supports the right answer, - it opposes it; an "
    "interval that includes 0 leaves the sign open."
)


def top_edges_table(
    scores: Mapping[tuple[str, str], EdgeScores],
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """List the edges with the highest and the most negative scores.

    A task without a usable pair has a row of empty cells.

    Args:
        scores: by task and method.
        tasks: in the order of the table.
        methods: in the order of the table.
    """
    blocks = [
        _ends_of_ranking(scores[task, method]).select(
            pl.lit(task).alias("task"), pl.lit(method).alias("method"), "rank", *SHOWN
        )
        for task, method in product(tasks, methods)
    ]
    frame = pl.concat([pl.DataFrame(schema=SCHEMA), *blocks])
    decimals = score_decimals(frame)
    return Table(frame, labels=4, blocks=2, decimals=decimals, note=NOTE)


def _ends_of_ranking(found: EdgeScores) -> pl.DataFrame:
    """Return the first edges of the ranking by score, and the last negative ones."""
    scores = found.flat
    if np.isnan(scores).any():
        return pl.DataFrame([dict.fromkeys(SCHEMA)], schema=SCHEMA)
    first = highest(scores, HIGHEST)
    # In the ranking from its end, where the last of equal edges comes first.
    last = len(scores) - 1 - highest(-scores[::-1], LOWEST)[::-1]
    ranks = np.arange(len(scores) - len(last), len(scores)) + 1
    listed = (ranks > len(first)) & (scores[last] < 0)
    numbers = np.concatenate([first, last[listed]])
    rank = np.concatenate([np.arange(len(first)) + 1, ranks[listed]])
    return edge_lines(found, numbers).with_columns(rank=rank)
