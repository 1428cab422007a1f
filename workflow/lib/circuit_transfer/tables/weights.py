"""Circuits of single weights and of edges: how few, and what they leave out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.method_statistics import mean_with_interval
from circuit_transfer.tables.typesetting import HALF_WIDTH, Table, half_width

MEASURES = (
    "weight_density",
    "edge_density",
    "right_above_wrong",
    "accuracy",
    "kl",
    "complement_right_above_wrong",
    "complement_accuracy",
)
COLUMNS = ("task", "method", "seed", "size", *MEASURES)
LABELS = ("task", "method", "size_percent")
NOTE = (
    "Mean over seeds (and tasks), ± half-width of the 95 % interval: of means over "
    "tasks and seeds within, of one task over seeds (Student's t). weight density, "
    "edge density: shares of the weights and edges that are kept; 1 where a method has "
    "no masks of weights. right above wrong: share of the test pairs with the right "
    "answer above the wrong one, chance .5; accuracy: above all tokens; kl: divergence "
    "from the whole model in nats. complement: of all other weights on all other "
    "edges, at chance where the circuit is complete. size own: that which the losses "
    "give, and of rankings as many edges as DiscoGP's circuit of the first seed. All "
    "by the ablation that DiscoGP learns by."
)


def weights_table(frames: Iterable[pl.DataFrame], *, tasks: Sequence[str]) -> Table:
    """Return the table of a model: means over tasks, then every task.

    Args:
        frames: what `pruning.discogp_measures` measures, a row for each circuit, with
            the labels `task`, `method`, `seed` and `size` (null: its own).
        tasks: in order.
    """
    schema: dict[str, Any] = dict.fromkeys(LABELS, pl.String)
    for name in MEASURES:
        schema |= {name: pl.Float64, name + HALF_WIDTH: pl.Float64}
    found = pl.concat([frame.select(COLUMNS) for frame in frames])
    lines = []
    for task in ([MEAN] if found["task"].n_unique() > 1 else []) + [*tasks]:
        of_task = found if task == MEAN else found.filter(task=task)
        groups = of_task.group_by("method", "size", maintain_order=True)
        for (method, size), rows in groups:
            shown = "own" if size is None else f"{100 * size:g}"
            labels = dict(zip(LABELS, (task, method, shown), strict=True))
            lines.append(labels | _cells(rows))
    return Table(pl.DataFrame(lines, schema=schema), labels=3, note=NOTE)


def _cells(rows: pl.DataFrame) -> dict[str, float | None]:
    """Return the mean of every measure, with half the width of its interval."""
    parts = rows.partition_by("task", maintain_order=True)
    cells: dict[str, float | None] = {}
    for name in MEASURES:
        values = [part[name].to_numpy() for part in parts]
        numbers = mean_with_interval(values, 0)
        half = half_width(
            {f"{name}_{end}": numbers[end] for end in ("low", "high")}, name
        )
        cells[name] = numbers["value"]
        cells[name + HALF_WIDTH] = (
            half if half is not None and np.isfinite(half) else None
        )
    return cells
