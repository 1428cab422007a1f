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
    shown = {test: _exceeded(rows, test) for test in (SEEDS, TASKS)}
    against = joined([_difference(name, row) for name, row in rows.items()])
    end = f"{circuit} circuits minus controls: {against}."
    if len(shown[TASKS]) == len(rows):
        return f"{start} the source matters, also over tasks alone; {end}"
    if len(shown[SEEDS]) == len(rows):
        return (
            f"{start} the source matters over tasks x seeds; over tasks alone this was "
            f"not shown; {end}"
        )
    if shown[SEEDS]:
        missed = [name for name in rows if name not in shown[SEEDS]]
        return (
            f"{start} that the source matters was not shown: the transfer exceeds "
            f"{joined(shown[SEEDS])} over tasks x seeds, but not {joined(missed)}; {end}"
        )
    return f"{start} that the source matters was not shown; {end}"


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
        if rows and len(_exceeded(rows, SEEDS)) == len(rows):
            also = len(_exceeded(rows, TASKS)) == len(rows)
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


def _exceeded(rows: Mapping[str, Mapping[str, Any]], test: str) -> list[str]:
    return [
        name
        for name, row in rows.items()
        if is_shown(row, test) and row["mean_difference"] > 0
    ]


def _difference(name: str, row: Mapping[str, Any]) -> str:
    """Return the difference to a control, and its p over tasks x seeds."""
    by = bracketed(row["mean_difference"], row["low"], row["high"])
    p = "" if row[SEEDS] is None else f", {p_value(row[SEEDS])}"
    return f"{name} {by}{p}"


def floor(pair: Pair) -> Iterator[str]:
    """Yield a sentence where no difference at all could be shown over tasks alone."""
    rows = [row for row in pair.differences if row["comparison"] == "control"]
    if not rows:
        return
    places = [(row["method"], row["map"], row["protocol"]) for row in rows]
    comparisons = max(map(places.count, set(places)))
    tasks = max(row["n_tasks"] for row in rows)
    least = min(row["least_p_tasks"] for row in rows) * comparisons
    if least > LEVEL:
        yield (
            f"With {counted(tasks, 'task')} and {counted(comparisons, 'control')}, no "
            f"difference can be shown over tasks alone: p is at least {min(1, least):.2f}."
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
