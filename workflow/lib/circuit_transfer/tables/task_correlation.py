"""The table of how similar the node scores of a model's tasks are."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import correlations, spearman
from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.training_sets import Families, family_of

SCHEMA = dict.fromkeys(("method", "task", "other_task"), pl.String)
SCHEMA |= {"correlation": pl.Float64}
NOTE = (
    "Pearson correlation of the node scores of two tasks, the most similar first: 1 "
    "the same nodes in proportion, 0 unrelated circuits. Empty: a task has no usable "
    "pair."
)


def task_correlation_table(
    scores: Mapping[tuple[str, str], np.ndarray],
    *,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Table:
    """List the correlations of every two tasks, the highest first, by method.

    Args:
        scores: node scores `(n_nodes,)` by method and task.
        methods: in the order of the table.
        tasks: in the order in which a row names them.
    """
    frames = [pl.DataFrame(schema=SCHEMA)]
    for method in methods:
        matrix = correlations([scores.get((method, task)) for task in tasks])
        rows = [
            (method, tasks[one], tasks[other], matrix[one, other])
            for one, other in combinations(range(len(tasks)), 2)
        ]
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").fill_nan(None)
        order = {"descending": True, "nulls_last": True, "maintain_order": True}
        frames.append(frame.sort("correlation", **order))
    return Table(pl.concat(frames), labels=3, note=NOTE)


def task_similarity(
    one: Sequence[np.ndarray | None],
    other: Sequence[np.ndarray | None],
    *,
    tasks: Sequence[str],
    families: Families,
) -> float:
    """Return whether the same tasks are similar in two models.

    Rank correlation of the Pearson correlations of scores in the one model and in the
    other, over pairs of tasks of different families. Within a family, tasks are similar
    in any model that does them.

    Args:
        one: node scores `(n_nodes,)` of every task in a model; None or NaN: unknown.
        other: those in the other model, whose nodes may be others.
        tasks: in the order of the scores.
        families: of the tasks, see `training_sets.study_families`.

    Returns:
        From -1 to 1; NaN for fewer than three pairs of tasks with known scores.
    """
    matrices = correlations(one), correlations(other)
    apart = [
        (left, right)
        for left, right in combinations(range(len(tasks)), 2)
        if family_of(tasks[left], families) != family_of(tasks[right], families)
    ]
    found = np.array([[matrix[pair] for matrix in matrices] for pair in apart])
    known = found.reshape(-1, 2)[np.isfinite(found.reshape(-1, 2)).all(1)]
    return spearman(*known.T) if len(known) > 2 else float("nan")
