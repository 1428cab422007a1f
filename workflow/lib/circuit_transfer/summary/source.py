"""Whether the source matters: transferred circuits against controls without it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import (
    SEEDS,
    TASKS,
    aligned_circuit,
    difference,
    is_shown,
)
from circuit_transfer.summary.wording import bracketed, counted, joined, listed, p_value
from circuit_transfer.tables.comparisons import GIVEN
from circuit_transfer.tables.explanations import explain
from circuit_transfer.tables.measures import CPR
from circuit_transfer.tables.transfers import LEVEL, Pair
from circuit_transfer.tables.typesetting import Table

QUESTION = "Does the source matter?"
# What is known of the source in their place; a transfer must exceed all of these.
CONTROLS = (*GIVEN, "scrambled-source")
NOTE = (
    "CPR of the transferred circuits minus that of the control, mean over tasks; low, "
    "high: its 95 % interval over tasks and seeds. p: adjusted by Holm for all "
    "controls, over tasks x seeds and, the stricter test, over tasks alone. A map uses "
    "what the source knows only where the difference is above 0 by a test, for every "
    "control."
)
NOTHING = "Nothing was transferred, so no source is compared."


def source_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> str:
    """Return whether transferred circuits exceed those that a control gives.

    Args:
        pair: the statistics of the pair.
        source: the source model.
        target: the target model.
        method: the attribution method.
        map_name: the map from source to target scores.
    """
    start = f"From {source} to {target} by {method},"
    protocol, circuit = aligned_circuit(pair, method, map_name)
    rows = dict(_tested(pair, method, map_name))
    if not rows:
        return f"{start} no control was run: whether the source matters is not tested."
    against = joined([_difference(name, row) for name, row in rows.items()])
    verdict = "; ".join(_verdicts(rows))
    return f"{start} {verdict}; {circuit} circuits minus controls: {against}."


def _verdicts(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield whether all controls are exceeded, else which, and which exceed it."""
    seeds, tasks = _beyond(rows, SEEDS, 1), _beyond(rows, TASKS, 1)
    if len(tasks) == len(rows):
        yield "the source matters, also over tasks alone"
    elif len(seeds) == len(rows):
        yield "the source matters over tasks x seeds (not shown over tasks alone)"
    else:
        yield "the source was not shown to matter"
        if seeds:
            yield f"the circuits exceed only {joined(seeds)} over tasks x seeds"
        if lower := _beyond(rows, SEEDS, -1):
            yield f"the circuits are below {joined(lower)} over tasks x seeds"


def maps_answer(
    pair: Pair, *, maps: Sequence[str], methods: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence on the maps that exceed every control, if several are compared.

    Args:
        pair: the statistics of the pair.
        maps: all maps, the main one first.
        methods: the attribution methods.
    """
    if len(maps) < 2:
        return
    found = []
    for name, method in product(maps, methods):
        rows = dict(_tested(pair, method, name))
        if rows and len(_beyond(rows, SEEDS, 1)) == len(rows):
            also = len(_beyond(rows, TASKS, 1)) == len(rows)
            found.append(
                f"{name} by {method}{' (also over tasks alone)' if also else ''}"
            )
    amount = f"Of {len(maps)} maps and {counted(len(methods), 'method')}"
    if found:
        yield (
            f"{amount}, these exceed all of their controls over tasks x seeds: "
            f"{listed(found, 'others')}."
        )
    else:
        yield f"{amount}, none was shown to exceed all of its controls."


def _tested(
    pair: Pair, method: str, map_name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the controls that circuits of a map are compared with, and how."""
    protocol, _ = aligned_circuit(pair, method, map_name)
    for name in CONTROLS if protocol else ():
        if row := difference(pair, method, map_name, protocol, name):
            yield name, row


def _beyond(rows: Mapping[str, Mapping[str, Any]], test: str, side: int) -> list[str]:
    """Return the controls that differ by a test, on the side of a sign."""
    return [
        name
        for name, row in rows.items()
        if is_shown(row, test) and side * row["mean_difference"] > 0
    ]


def _difference(name: str, row: Mapping[str, Any]) -> str:
    """Return the difference to a control, and its p over tasks x seeds."""
    by = bracketed(row["mean_difference"], row["low"], row["high"])
    p = "" if row[SEEDS] is None else f", {p_value(row[SEEDS])}"
    return f"{name} {by}{p}"


def floor(pair: Pair) -> Iterator[str]:
    """Yield a sentence where no difference at all could be shown over tasks alone."""
    rows = [
        row
        for row in pair.differences
        if row["comparison"] == "control" and row["measure"] == CPR.column
    ]
    if not rows:
        return
    places = [(row["method"], row["map"], row["protocol"]) for row in rows]
    comparisons = max(map(places.count, set(places)))
    tasks = max(row["n_tasks"] for row in rows)
    least = min(row["least_p_tasks"] for row in rows) * comparisons
    if least > LEVEL:
        yield (
            f"With {counted(tasks, 'task')} and {counted(comparisons, 'control')}, no "
            "difference can be shown over tasks alone: p is at least "
            f"{min(1, least):.2f}."
        )


def source_table(pair: Pair, *, maps: Sequence[str], methods: Sequence[str]) -> Table:
    """Return the differences of every map to its controls, the strictest protocol."""
    numbers = ("difference", "low", "high", "p_tasks_x_seeds", "p_tasks")
    lines = []
    for method, name in product(methods, maps):
        for control, row in _tested(pair, method, name):
            values = (row["mean_difference"], row["low"], row["high"])
            line = {"method": method, "map": name, "control": control}
            line |= dict(zip(numbers, (*values, row[SEEDS], row[TASKS]), strict=True))
            lines.append(line)
    schema = dict.fromkeys(("method", "map", "control"), pl.String)
    schema |= dict.fromkeys(numbers, pl.Float64)
    frame = pl.DataFrame(lines, schema=schema)
    terms = explain([*maps, *CONTROLS])
    return Table(frame, labels=3, blocks=2, note=NOTE, explanations=terms)
