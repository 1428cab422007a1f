"""Which heads are left in circuits: those that matter alone, oppose, or back up."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import Graph
from circuit_transfer.tables.typesetting import Table

# The columns that are read of the heads of a task, in the order of their file.
HEADS = ("head", "effect", "effect_without", "role")
ROLES = {
    "named": "listed in evaluation.heads",
    "strongest": "the largest drop of the logit difference if it alone is ablated",
    "negative": "the logit difference rises most if it alone is ablated",
    "backup": "it matters more once the strongest ones are ablated",
}
ALL = "all"
LABELS = ("task", "size_percent", "role", "head")
SCHEMA = {
    "task": pl.String,
    "size": pl.Float64,
    "role": pl.String,
    "head": pl.String,
    "effect": pl.Float64,
    "effect_without": pl.Float64,
    "method": pl.String,
    "kept": pl.Float64,
    "n_seeds": pl.Int64,
}
NOTE = (
    "Which heads a circuit of size percent of all edges still uses: 1 if it has an "
    "edge that the head writes and that is on a path from the input to the logits, "
    "else 0; of learned circuits the share of seeds, of attribution methods by "
    "absolute scores. effect: drop of the logit difference if the head alone is "
    "ablated; effect without: the largest beside one of the strongest heads ablated. "
    f"{ALL}: the share of the heads of a role."
)


def surviving(graph: Graph, circuits: np.ndarray, heads: Sequence[str]) -> np.ndarray:
    """Return which heads write an effective edge, bool `(..., heads)`.

    Args:
        graph: the graph.
        circuits: bool `(..., n_edges)`.
        heads: names of writers, such as `a0.h1`.

    Raises:
        ValueError: the graph has no such head.
    """
    if unknown := sorted({*heads} - {*graph.writers}):
        raise ValueError(
            f"head {unknown[0]!r} is not in the model; expected one of "
            f"{graph.writers[1]} ... {graph.writers[-1]}"
        )
    effective = effective_edges(graph, circuits)
    numbers = [graph.writers.index(head) for head in heads]
    found = [effective[..., graph.ends[0] == each].any(-1) for each in numbers]
    return np.stack(found, axis=-1) if found else effective[..., :0]


def survival_rows(
    graph: Graph,
    circuits: Mapping[float, Sequence[np.ndarray]],
    heads: pl.DataFrame,
    *,
    task: str,
    method: str,
) -> Iterator[dict[str, Any]]:
    """Yield which heads one method keeps on one task, a row per size and head.

    Args:
        graph: the graph.
        circuits: by size, of every seed, bool `(n_edges,)`; of attribution one.
        heads: see `HEADS`.
        task: the task.
        method: the method.
    """
    names = heads["head"].to_list()
    for size, seeds in circuits.items():
        shares = surviving(graph, np.stack(seeds), names).mean(0)
        labels = {"task": task, "method": method, "n_seeds": len(seeds)}
        for head, share in zip(heads.iter_rows(named=True), shares, strict=True):
            known = {name: head[name] for name in HEADS}
            yield labels | known | {"size": size, "kept": float(share)}


def survival_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return the rows of all tasks and methods as a frame, see `SCHEMA`."""
    return pl.DataFrame(rows, schema=SCHEMA)


def survival_table(frame: pl.DataFrame, *, methods: Sequence[str]) -> Table:
    """Return the table of a model: a row per head, a column per method.

    Args:
        frame: see `survival_frame`.
        methods: in the order of the columns.
    """
    effects = ("effect", "effect_without")
    keys = ("task", "size", "role")
    alone = frame.select(*keys, "head", *effects, "method", "kept")
    roles = frame.group_by(*keys, "method", maintain_order=True).agg(pl.mean("kept"))
    nothing = (pl.lit(None, dtype=pl.Float64).alias(name) for name in effects)
    roles = roles.with_columns(pl.lit(ALL).alias("head"), *nothing)
    lines = pl.concat([alone, roles.select(alone.columns)])
    order = lines.select(*keys).unique(maintain_order=True).with_row_index("place")
    wide = lines.pivot("method", index=[*keys, "head", *effects], values="kept")
    # A task without a usable pair has no head, and no column of a method.
    lacking = [each for each in methods if each not in wide.columns]
    empty = (pl.lit(None, dtype=pl.Float64).alias(each) for each in lacking)
    wide = wide.with_columns(*empty).join(order, on=keys, maintain_order="left")
    percent = (100 * pl.col("size")).round(6).cast(pl.String).str.strip_suffix(".0")
    shown = wide.sort("place", maintain_order=True).select(
        "task", percent.alias("size_percent"), "role", "head", *effects, *methods
    )
    known = [role for role in ROLES if role in shown["role"]]
    return Table(
        shown,
        labels=len(LABELS),
        blocks=3,
        note=NOTE,
        explanations={role: ROLES[role] for role in known},
    )
