"""The table of a model's own circuits: what it can do, and how faithful they are."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.models.nodes import is_mlp
from circuit_transfer.tables.cells import measure_cells, measure_schema
from circuit_transfer.tables.curves import RANKINGS
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    INTERVAL_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import SHOWN
from circuit_transfer.tables.typesetting import Table

HEADS = 5  # that are named
RANDOM = tuple(f"{RANKINGS}_{measure.column}" for measure in SHOWN)
SCHEMA = (
    {"task": pl.String, "method": pl.String, "pairs": pl.Int64, "distinct": pl.Int64}
    | dict.fromkeys(("right_above_wrong", "logit_diff"), pl.Float64)
    | measure_schema()
    | dict.fromkeys(RANDOM, pl.Float64)
    | {"top_heads": pl.String}
)
NOTE = (
    "distinct: pairs of prompts among the test pairs, without repetition. "
    "right above wrong: share of the test pairs in which the whole model gives the "
    "right answer the higher logit; logit diff: the mean difference. "
    f"{RANKINGS}: of random circuits, their mean. top heads: those with the highest "
    f"scores. {INTERVAL_NOTE} {EXAGGERATION_NOTE}"
)
Cell = tuple[str, str]


def top_heads(scores: np.ndarray, nodes: Sequence[str], count: int = HEADS) -> str:
    """Return the names of the attention heads with the highest scores.

    Args:
        scores: `(n_nodes,)`, NaN where a task has no pair.
        nodes: the names of the nodes.
        count: number of heads.
    """
    heads = [
        (-score, index)
        for index, (node, score) in enumerate(zip(nodes, scores, strict=True))
        if not is_mlp(node) and not np.isnan(score)
    ]
    return " ".join(nodes[index] for _, index in sorted(heads)[:count])


def gold_table(
    statistics: pl.DataFrame,
    whole: Mapping[Cell, Sequence[float]],
    heads: Mapping[Cell, str],
    *,
    target: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """Whole model and gold circuits on every task by every method, and random circuits.

    Args:
        statistics: the levels of all circuits, of one ablation.
        whole: by task and method the logit differences of the whole model, one for
            each test pair.
        heads: by task and method the names of the highest heads.
        target: the model.
        tasks: in the order of the table.
        methods: in the order of the table.
    """
    levels = statistics.filter(
        (pl.col("row") == "level")
        & pl.col("source").is_null()
        & (pl.col("target") == target)
    )
    found = {(row["task"], row["method"]): row for row in levels.to_dicts()}
    lines = []
    for cell in product(tasks, methods):
        task, method = cell
        random = found.get((task, "random"), {})
        level = found.get(cell, {})
        lines.append(
            {"task": task, "method": method}
            | _whole_model(whole.get(cell, ()))
            | {"distinct": level.get("n_distinct")}
            | measure_cells(level)
            | {
                name: random.get(m.column)
                for name, m in zip(RANDOM, SHOWN, strict=True)
            }
            | {"top_heads": heads.get(cell)}
        )
    frame = pl.DataFrame(lines, schema=SCHEMA)
    explanations = explain(MEASURE_EXPLANATIONS)
    return Table(frame, labels=2, note=NOTE, explanations=explanations)


def _whole_model(differences: Sequence[float]) -> dict[str, float | None]:
    """Return the number of test pairs, and what the whole model does on them."""
    pairs = np.asarray(differences, dtype=float)
    if not len(pairs):
        return {"pairs": 0, "right_above_wrong": None, "logit_diff": None}
    return {
        "pairs": len(pairs),
        "right_above_wrong": float((pairs > 0).mean()),
        "logit_diff": float(pairs.mean()),
    }
