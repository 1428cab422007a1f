"""Whether the source matters: transferred circuits against controls without it."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import (
    SEEDS,
    TASKS,
    aligned_circuit,
    is_shown,
)
from circuit_transfer.summary.wording import (
    Answer,
    bracketed,
    counted,
    joined,
    listed,
    p_value,
)
from circuit_transfer.tables.by_method import Maps, every_name
from circuit_transfer.tables.comparisons import GIVEN, floor_over_tasks
from circuit_transfer.tables.explanations import MEASURE_EXPLANATIONS, explain
from circuit_transfer.tables.measures import CMD, CPR, SHOWN, Measure
from circuit_transfer.tables.transfers import LEVEL, Pair
from circuit_transfer.tables.typesetting import Table

QUESTION = "Does the source matter?"
# What is known of the source in their place; a transfer must exceed all of these.
CONTROLS = (*GIVEN, "scrambled-source")
NOTE = (
    "The measure of the transferred circuits minus that of the control, mean over "
    "tasks; low, high: its 95 % interval over tasks and seeds. p: adjusted by Holm for "
    "all controls, over tasks x seeds and, the stricter test, over tasks alone. A map "
    "uses what the source knows only where CPR is higher and CMD lower, by a test for "
    "every control."
)
Differences = Mapping[str, Mapping[str, Any]]


def source_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> Answer:
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
        return Answer(
            f"{start} no control was run: whether the source matters is not tested."
        )
    by_cmd = dict(_tested(pair, method, map_name, CMD))
    verdict = "; ".join(_verdicts(rows, by_cmd))
    against = f"CPR {_differences(rows)}; CMD {_differences(by_cmd)}"
    details = f"The {circuit} circuits minus those of controls: {against}."
    return Answer(f"{start} {verdict}.", details)


def _verdicts(rows: Differences, by_cmd: Differences) -> Iterator[str]:
    """Yield whether all controls are exceeded, else which, and which exceed it."""
    if _exceeds_all(rows, by_cmd, TASKS):
        yield "the source matters, also over tasks alone"
    elif _exceeds_all(rows, by_cmd, SEEDS):
        yield "the source matters over tasks x seeds (not shown over tasks alone)"
    else:
        yield "the source was not shown to matter"
        higher = _beyond(rows, SEEDS, 1)
        if len(higher) == len(rows):
            yield "CPR exceeds that of every control, but CMD was not shown to be lower"
        elif higher:
            yield f"by CPR the circuits exceed only {joined(higher)} over tasks x seeds"
        if lower := _beyond(rows, SEEDS, -1):
            yield f"by CPR the circuits are below {joined(lower)} over tasks x seeds"


def _exceeds_all(rows: Differences, by_cmd: Differences, test: str) -> bool:
    """Return whether all controls are exceeded by CPR, and by CMD as well.

    CPR alone rewards circuits that exaggerate; of CMD, lower is better.
    """
    better = (_beyond(rows, test, 1), _beyond(by_cmd, test, -1))
    return all(len(each) == len(rows) for each in better)


def maps_answer(pair: Pair, *, maps: Maps, what: str = "maps") -> Iterator[str]:
    """Yield a sentence on the maps that exceed every control, if several are compared.

    Args:
        pair: the statistics of the pair.
        maps: by method, the main one first.
        what: of what they are.
    """
    every = every_name(maps)
    if len(every) < 2:
        return
    found = []
    for name, method in product(every, maps):
        rows = dict(_tested(pair, method, name))
        by_cmd = dict(_tested(pair, method, name, CMD))
        if rows and _exceeds_all(rows, by_cmd, SEEDS):
            also = _exceeds_all(rows, by_cmd, TASKS)
            how = " (also over tasks alone)" if also else ""
            found.append(f"{name} by {method}{how}")
    amount = f"Of {len(every)} {what} and {counted(len(maps), 'method')}"
    if found:
        yield (
            f"{amount}, these exceed all of their controls, by CPR and CMD, over tasks "
            "x seeds: "
            f"{listed(found)}."
        )
    else:
        yield f"{amount}, none was shown to exceed all of its controls."


def _tested(
    pair: Pair, method: str, map_name: str, measure: Measure = CPR
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the controls that circuits of a map are compared with, and how."""
    protocol, _ = aligned_circuit(pair, method, map_name)
    for name in CONTROLS if protocol else ():
        if row := pair.test(method, map_name, protocol, name, measure):
            yield name, row


def _beyond(rows: Differences, test: str, side: int) -> list[str]:
    """Return the controls that differ by a test, on the side of a sign."""
    return [
        name
        for name, row in rows.items()
        if is_shown(row, test) and side * row["mean_difference"] > 0
    ]


def _differences(rows: Differences) -> str:
    return joined([_difference(name, row) for name, row in rows.items()])


def _difference(name: str, row: Mapping[str, Any]) -> str:
    """Return the difference to a control, and its p over tasks x seeds."""
    by = bracketed(row["mean_difference"], row["low"], row["high"])
    p = "not tested" if row[SEEDS] is None else p_value(row[SEEDS])
    return f"{name} {by} ({p})"


def floor(pair: Pair) -> Iterator[str]:
    """Yield a sentence where no difference at all could be shown over tasks alone."""
    found = floor_over_tasks(pair.differences)
    if found and found.adjusted > LEVEL:
        yield (
            f"With {counted(found.tasks, 'task')} and "
            f"{counted(found.controls, 'comparison')}, no difference can be shown "
            f"over tasks alone: p is at least {found.adjusted:.2f}."
        )


def source_table(pair: Pair, *, maps: Maps) -> Table:
    """Return the differences of every map to its controls, the strictest protocol.

    A block for each method, map and measure.
    """
    numbers = ("difference", "low", "high", "p_tasks_x_seeds", "p_tasks")
    lines = []
    blocks = ((method, name) for method in maps for name in maps[method])
    for (method, name), measure in product(blocks, SHOWN):
        for control, row in _tested(pair, method, name, measure):
            values = (row["mean_difference"], row["low"], row["high"])
            line = {"method": method, "map": name, "measure": measure.name}
            line["control"] = control
            line |= dict(zip(numbers, (*values, row[SEEDS], row[TASKS]), strict=True))
            lines.append(line)
    schema = dict.fromkeys(("method", "map", "measure", "control"), pl.String)
    schema |= dict.fromkeys(numbers, pl.Float64)
    frame = pl.DataFrame(lines, schema=schema)
    terms = explain([*MEASURE_EXPLANATIONS, *every_name(maps), *CONTROLS])
    return Table(frame, labels=4, blocks=3, note=NOTE, explanations=terms)
