"""The nodes of a circuit by name: what a ranking keeps at a size."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.circuits.similarity import node_ranks
from circuit_transfer.models.nodes import circuit_size

MEMBER_SCHEMA = {
    "task": pl.String,
    "method": pl.String,
    "proportion": pl.Float64,
    "n_nodes": pl.Int64,
    "rank": pl.Int64,
    "node": pl.String,
    "score": pl.Float32,
}


def circuit_nodes(scores: Scores, proportions: Sequence[float]) -> pl.DataFrame:
    """Return the nodes of the circuits of every size, best first.

    They are those that the evaluation of the same scores keeps: the highest signed
    scores, equal ones in the order of the nodes, as in `masks.circuit_masks`.

    Args:
        scores: `(n_nodes,)` of a task, of attribution (`read_scores`) or projected.
        proportions: shares of the nodes to keep, rounded down to whole nodes.

    Returns:
        One row per size and node in it, see `MEMBER_SCHEMA`; `n_nodes` is the size and
        `rank` is 1 for the highest score. No rows for unknown scores (not finite).

    Raises:
        ValueError: a proportion is not between 0 and 1.
    """
    if wrong := [each for each in proportions if not 0 <= each <= 1]:
        raise ValueError(f"proportion {wrong[0]}: expected a share between 0 and 1")
    # As the files of scores have them, so that equal ones are those of the evaluation.
    values = np.asarray(scores.scores, np.float32)
    if not np.isfinite(values).all():
        return pl.DataFrame(schema=MEMBER_SCHEMA)
    every = {"rank": node_ranks(values) + 1, "node": scores.nodes, "score": values}
    ranked = pl.DataFrame(every).sort("rank")
    labels = {key: scores.metadata.get(key) for key in ("task", "method")}
    circuits = [
        ranked.head(size).select(
            **{key: pl.lit(value, pl.String) for key, value in labels.items()},
            proportion=pl.lit(proportion, pl.Float64),
            n_nodes=pl.lit(size, pl.Int64),
            rank="rank",
            node="node",
            score="score",
        )
        for proportion in proportions
        for size in [circuit_size(proportion, len(scores.nodes))]
    ]
    return pl.concat([pl.DataFrame(schema=MEMBER_SCHEMA), *circuits])
