"""Which heads are critical for a task: by ablation, by node scores, or by edges.

Nothing here runs a model; see `head_effects`, and `path_patching` for groups of heads
that read one another.
"""

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.distillation.frames import RANKED_COLUMNS
from circuit_transfer.models.nodes import circuit_size, is_mlp

log = logging.getLogger(__name__)

ACCURACY, LOGIT_DIFF = "accuracy", "logit-diff"
METRICS = (ACCURACY, LOGIT_DIFF)


def rank_by_effect(
    effects: pl.DataFrame, metric: str, count: int | float
) -> pl.DataFrame:
    """Rank heads by the drop of a metric without them, largest first.

    Equal drops, of which accuracies have many, rank by that of the other metric.

    Args:
        effects: see `head_effects.head_effects`.
        metric: one of `METRICS`.
        count: how many are critical, see `head_count`.

    Returns:
        See `frames.RANKED_COLUMNS`; `score` is the effect.

    Raises:
        ValueError: there is no such metric, or no such number of heads.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
    (other,) = {*METRICS} - {metric}
    main, ties = (effects.filter(pl.col("metric") == each) for each in (metric, other))
    columns = [each["effect"].to_numpy() for each in (main, ties)]
    return ranked_heads(main["head"].to_list(), columns[0], columns, count)


def rank_by_scores(
    scores: np.ndarray, nodes: Sequence[str], count: int | float
) -> pl.DataFrame:
    """Rank heads by the size of their scores, those that oppose the answer included.

    Args:
        scores: of all nodes by any method of attribution, `(n_nodes,)`.
        nodes: their names.
        count: how many are critical, see `head_count`.

    Returns:
        See `frames.RANKED_COLUMNS`; `score` is that of the node, with its sign.

    Raises:
        ValueError: a score is not known, or there is no such number of heads.
    """
    heads = [number for number, name in enumerate(nodes) if not is_mlp(name)]
    values = np.asarray(scores, float)[heads]
    return ranked_heads(
        [nodes[each] for each in heads], values, [np.abs(values)], count
    )


def rank_by_edges(
    scores: np.ndarray, writers: Sequence[str], count: int | float
) -> pl.DataFrame:
    """Rank heads by the highest edge that starts at them.

    The critical heads are the first ones that are found going down the ranking of the
    edges, which is that of their circuits: highest signed score first.

    Args:
        scores: of all edges by any method, `(n_writers, n_readers)`, NaN where there is
            no edge, see `artifacts.edge_scores.EdgeScores`.
        writers: names of the writers.
        count: how many are critical, see `head_count`.

    Returns:
        See `frames.RANKED_COLUMNS`; `score` is that of the edge.

    Raises:
        ValueError: a head has no edge, or there is no such number of heads.
    """
    # The embeddings are a writer, too.
    names = [(row, name) for row, name in enumerate(writers) if name.startswith("a")]
    highest = np.nan_to_num(scores, nan=-np.inf).max(1)
    values = highest[[row for row, _ in names]]
    return ranked_heads([name for _, name in names], values, [values], count)


def head_count(count: int | float, n_heads: int) -> int:
    """Return how many heads a number or a share of them is.

    Args:
        count: a whole number of heads (int), or a share of all (float) above 0 and at
            most 1.0, rounded down, but at least one head.
        n_heads: of the model.

    Raises:
        ValueError: it is neither, or above the number of heads.
    """
    is_share = isinstance(count, float)
    if not (0 < count <= 1 if is_share else 1 <= count <= n_heads):
        raise ValueError(
            f"{count} critical heads: expected a whole number from 1 to {n_heads}, or "
            "a share above 0 and at most 1.0"
        )
    return max(1, circuit_size(count, n_heads)) if is_share else int(count)


def critical(ranked: pl.DataFrame) -> list[str]:
    """Return the critical heads of a ranking, the most critical one first.

    Args:
        ranked: see `frames.RANKED_COLUMNS`; of several groups, a head of two is there
            once.
    """
    chosen = ranked.filter("critical").sort("rank", maintain_order=True)
    return chosen["head"].unique(maintain_order=True).to_list()


def ranked_heads(
    heads: Sequence[str],
    scores: np.ndarray,
    by: Sequence[np.ndarray],
    count: int | float,
) -> pl.DataFrame:
    """Return the frame of heads in a ranking, and warn if it says little of some.

    Args:
        heads: names of all heads in their order, in which equal ones rank.
        scores: of all heads, `(heads,)`.
        by: what ranks them, highest first, each `(heads,)`; the first one decides, then
            the others. Above 0 where a head matters.
        count: how many are critical, see `head_count`.

    Returns:
        See `frames.RANKED_COLUMNS`.

    Raises:
        ValueError: a score is not known, or there is no such number of heads.
    """
    size = head_count(count, len(heads))
    if unknown := np.flatnonzero(~np.isfinite(by[0])).tolist():
        raise ValueError(
            f"{heads[unknown[0]]} has no known score, so the heads have no ranking"
        )
    order = np.lexsort([-each for each in reversed(by)])
    above = int((by[0] > 0).sum())
    if above < size:
        log.warning(
            "%d critical heads, but only %d have an effect in this direction: choose "
            "fewer heads, or more prompts",
            size,
            above,
        )
    frame = {
        "head": [heads[each] for each in order],
        "score": scores[order],
        "rank": np.arange(1, len(heads) + 1),
        "critical": np.arange(len(heads)) < size,
    }
    return pl.DataFrame(frame, RANKED_COLUMNS)
