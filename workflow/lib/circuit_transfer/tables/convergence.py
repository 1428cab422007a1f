"""Table of how node scores change with the number of steps."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.circuits.convergence import SCORES, compare_counts
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.typesetting import Table

LABELS = ("model", "method", "task")
COLUMNS = (*LABELS, *SCORES)
NOTE = (
    "Scores with a number of steps of integrated gradients compared with those with "
    "more. spearman: correlation of the ranks of all nodes; top: share of the highest "
    "5 nodes, 10 nodes and 5 % of the nodes that both have in common; largest change: "
    "of a node's score, relative to the largest score. effect error: distance of the "
    "score of the token embeddings from the effect of corrupting them, which it equals "
    "with infinitely many steps, relative to the effect; of more: with more steps. "
    f"{MEAN}: over tasks."
)


def comparisons(scores: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Compare all numbers of steps of every model, method and task.

    Args:
        scores: frames of one model, method and task each, with `COLUMNS`.

    Returns:
        `LABELS` and the columns of `convergence.compare_counts`.
    """
    return pl.concat(
        compare_counts(frame).select(
            *(pl.lit(frame[name][0]).alias(name) for name in LABELS), pl.all()
        )
        for frame in scores
    )


def convergence_table(scores: Sequence[pl.DataFrame]) -> Table:
    """Return the table of all comparisons: the mean over tasks, then every task.

    Args:
        scores: as in `comparisons`.
    """
    compared = comparisons(scores)
    place, counts = ["model", "method"], ["steps", "more_steps"]
    means = compared.group_by(*place, *counts, maintain_order=True).agg(
        pl.lit(MEAN).alias("task"), pl.col(pl.Float64).mean()
    )
    both = pl.concat([means.select(compared.columns), compared])
    blocks = both.select(place).unique(maintain_order=True)
    frame = blocks.join(both, on=place, how="left", maintain_order="left_right")
    return Table(frame, labels=5, blocks=3, decimals=3, note=NOTE)
