"""The table of how similar the node scores of a model's tasks are."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import correlations
from circuit_transfer.tables.typesetting import Table

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
