"""The statistics of circuits of edges: levels with intervals, and tested differences.

Levels are those of circuits of nodes, see `statistics`; which circuits are compared is
in `edge_differences`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from circuit_transfer.statistics import RESAMPLES, percentile_interval
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import AREAS, edge_areas, needed_draws
from circuit_transfer.tables.edge_differences import Circuit, edge_differences
from circuit_transfer.tables.resampling import (
    LEVEL_KEYS,
    Draws,
    curve_intervals,
    example_draws,
)
from circuit_transfer.tables.statistics import DIFFERENCE, LEVEL, SHARED, levels

KEYS = {
    "row": (pl.String, "level: how good a circuit is; difference: it minus another"),
    "target": (pl.String, "the model"),
    "method": (pl.String, "attribution method; random for random rankings"),
    "control": (
        pl.String,
        "none: edges ranked by the method's scores; random: by none; random-effective: "
        "random edges, of each size until as many are on a path from the input to the "
        "logits as in the method's circuit; lifted: every edge with the lower score of "
        "the two nodes that it connects; nodes: circuits of nodes, not of edges",
    ),
    "ranking": (pl.String, "signed: highest scores first; absolute: highest |score|"),
    "ablation": (pl.String, "what the edges outside a circuit carry"),
    "task": (pl.String, "evaluated task; mean: over the tasks"),
}
_NEEDED = (
    "smallest share of the edges (of nodes: of the nodes) whose faithfulness is at "
    "least .9; null in mean rows, and where none is"
)
NEEDED = {
    "edges_needed": (pl.Float64, _NEEDED),
    "edges_needed_low": (pl.Float64, "lower end of its 95 % interval over examples"),
    "edges_needed_high": (pl.Float64, "upper end of it"),
    "n_edges_needed": (pl.Int64, "the number of these edges"),
    "effective_needed": (pl.Int64, "how many are on a path from input to logits"),
    "close_needed": (
        pl.Float64,
        "smallest share whose faithfulness is at most .1 above or below 1, as CMD "
        "counts distance",
    ),
    "cpr_effective": (
        pl.Float64,
        "mean faithfulness over the number of edges on a path from input to logits",
    ),
}
EXAMPLES = {
    "p_examples": (
        pl.Float64,
        "of one task: two-sided, by the bootstrap over distinct pairs of prompts",
    ),
    "p_examples_holm": (pl.Float64, "adjusted by Holm within circuit and comparison"),
}
OWN = {
    "comparison": (
        pl.String,
        "with what: random, random-effective, lifted, nodes, ranking, method",
    ),
    "against": (pl.String, "the other circuit's method or ranking, or the control"),
    "measure": (
        pl.String,
        "what is compared, at equal shares: cpr, cmd (lower is better), "
        "right_above_wrong_area; edges_needed and close_needed as log10 (lower is "
        "better): how large the circuits are at equal faithfulness and equal distance",
    ),
    "low": (
        pl.Float64,
        "lower end of its 95 % interval: of one task over examples, of mean rows over "
        "tasks and seeds within",
    ),
}
_OF_NODES = ("recovery", "recovery_low", "recovery_high", "n_collapsed")
COLUMNS = KEYS | {k: v for k, v in LEVEL.items() if k not in _OF_NODES} | NEEDED
COLUMNS |= DIFFERENCE | OWN | EXAMPLES | SHARED
SCHEMA = {name: dtype for name, (dtype, _) in COLUMNS.items()}
DOCUMENTATION = {name: meaning for name, (_, meaning) in COLUMNS.items()}
# Under which names circuits of edges have the keys of levels of nodes.
_AS_LEVEL = {"map": "ranking", "circuit": "control"}


def edge_statistics(
    curves: pl.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return all levels and differences, and the mean curves with their intervals.

    Args:
        curves: of circuits of edges and of nodes, see `edge_curves` and `node_curves`.
        resamples: of the examples.
        seed: of all that is random.

    Returns:
        The statistics, with the columns of `DOCUMENTATION`; and a row per circuit, task
        (or `mean`) and size: faithfulness with its interval.
    """
    known = curves.filter(pl.col("faithfulness").is_not_null())
    areas, frame = edge_areas(known), _as_levels(known)
    draws = example_draws(
        frame,
        resamples=resamples,
        seed=seed,
        drawn_circuits=set(frame["circuit"]),
    )
    rows = [*_levels(areas, draws)]
    by_circuit = {(_circuit(key), key[-1]): draw for key, draw in draws.items()}
    rows += edge_differences(areas, by_circuit, seed=seed)
    statistics = pl.DataFrame(rows, schema=SCHEMA).fill_nan(None)
    renamed = {old: new for old, new in _AS_LEVEL.items()}
    bands = curve_intervals(draws).rename(renamed).drop("source", "protocol")
    order = (*KEYS, "comparison", "against", "measure")
    return statistics.sort(*order), bands


def _as_levels(frame: pl.DataFrame) -> pl.DataFrame:
    """Return circuits of edges with the keys of levels of nodes."""
    nothing = pl.lit(None, dtype=pl.String)
    keys = {old: pl.col(new) for old, new in _AS_LEVEL.items()}
    keys |= dict.fromkeys(("source", "protocol", "training_set"), nothing)
    if "n_edges" in frame.columns:
        keys["n_nodes"] = pl.coalesce("n_edges", "n_nodes")
    return frame.with_columns(**keys, collapsed=pl.lit(False))


def _circuit(key: tuple[str | None, ...]) -> Circuit:
    names = dict(zip(LEVEL_KEYS, key, strict=True))
    names = {_AS_LEVEL.get(name, name): value for name, value in names.items()}
    return Circuit(*(names[name] for name in Circuit._fields))


def _levels(
    areas: pl.DataFrame, draws: dict[tuple[str | None, ...], Draws]
) -> Iterator[dict[str, Any]]:
    frame = _as_levels(areas.drop_nulls("cpr")).sort(*LEVEL_KEYS, "seed")
    single = _single(areas)
    for row in levels(frame, draws):
        key = tuple(row[name] for name in LEVEL_KEYS)
        row = {_AS_LEVEL.get(name, name): value for name, value in row.items()}
        if row["task"] != MEAN:
            row |= single.get((_circuit(key), row["task"]), {})
            row |= _needed_interval(draws.get(key))
        yield {name: value for name, value in row.items() if name in SCHEMA}


def _single(areas: pl.DataFrame) -> dict[tuple[Circuit, str], dict[str, Any]]:
    """Return, of circuits that have one curve, what only one curve has."""
    names = [name for name in NEEDED if name in AREAS]
    found: dict[tuple[Circuit, str], list[dict[str, Any]]] = {}
    for row in areas.iter_rows(named=True):
        key = Circuit(*(row[name] for name in Circuit._fields)), row["task"]
        found.setdefault(key, []).append({name: row[name] for name in names})
    return {key: rows[0] for key, rows in found.items() if len(rows) == 1}


def _needed_interval(draws: Draws | None) -> dict[str, float]:
    if draws is None:
        return {}
    shares = needed_draws(draws.curve, draws.proportions)["edges_needed"]
    low, high = percentile_interval(shares)
    return {"edges_needed_low": float(low), "edges_needed_high": float(high)}


def unmeasured(curves: pl.DataFrame) -> Iterable[tuple[str, str]]:
    """Return target and task where faithfulness is undefined: empty cells."""
    undefined = curves.filter(pl.col("faithfulness").is_null())
    return undefined.select("target", "task").unique(maintain_order=True).iter_rows()
