"""Tested differences between transferred and other circuits, in words."""

from collections.abc import Mapping
from typing import Any

from circuit_transfer.summary.wording import bracketed, p_value
from circuit_transfer.tables.measures import Measure
from circuit_transfer.tables.transfers import LEVEL, Pair

# p values over tasks x seeds, and over tasks alone, which is the stricter test.
SEEDS, TASKS = "p_permutation_holm", "p_tasks_holm"
# What no test compares: trained on the evaluated task.
SEEN = "in-distribution"


def aligned_circuit(pair: Pair, method: str, map_name: str) -> tuple[str | None, str]:
    """Return the strictest protocol that a pair has circuits of, and their name.

    Without a family comes before without a task. If nothing was left out of training,
    the protocol is None, and the circuits are those trained on the evaluated task.
    """
    for protocol, circuit in reversed(pair.protocols.items()):
        if pair.level(method, circuit, name=map_name, protocol=protocol):
            return protocol, circuit
    return None, SEEN


def is_shown(row: Mapping[str, Any], test: str) -> bool:
    """Return whether a difference is significant by a test; without p it is not."""
    return row[test] is not None and row[test] < LEVEL


def compared(row: Mapping[str, Any], measure: Measure) -> str:
    """Return how a measure of circuits compares with that of others, as a clause.

    Args:
        row: a difference of the statistics.
        measure: the measure.
    """
    by = bracketed(row["mean_difference"], row["low"], row["high"])
    seeds, tasks = is_shown(row, SEEDS), is_shown(row, TASKS)
    higher = row["mean_difference"] > 0
    side = "higher" if higher else "lower"
    if not seeds and not tasks:
        how = f"be {side}" if higher == measure.higher else "differ"
        return f"{measure.name} was not shown to {how} ({by}; {_p_values(row)})"
    text = f"{measure.name} is {side}"
    if seeds and tasks:
        return f"{text} ({by}; {_p_values(row)})"
    shown, other = (SEEDS, TASKS) if seeds else (TASKS, SEEDS)
    names = {SEEDS: "over tasks x seeds", TASKS: "over tasks alone"}
    return (
        f"{text} {names[shown]} ({by}; {_p(row, shown)}), not shown {names[other]} "
        f"({_p(row, other)})"
    )


def verdict(rows: Mapping[Measure, Mapping[str, Any]], words: str) -> str:
    """Return whether circuits are better than others, by all measures, as a clause.

    Args:
        rows: differences of the statistics, by measure.
        words: the other circuits.
    """
    shown = all(is_shown(row, SEEDS) for row in rows.values())
    sides = {(row["mean_difference"] > 0) == each.higher for each, row in rows.items()}
    if not shown or len(sides) > 1:
        return f"were not shown to be better than {words}"
    better = "better" if sides == {True} else "worse"
    text = f"are {better} than {words}"
    if all(row["n_cells"] == row["n_tasks"] for row in rows.values()):
        return text
    if all(is_shown(row, TASKS) for row in rows.values()):
        return f"{text}, also over tasks alone"
    return f"{text} over tasks x seeds, not shown over tasks alone"


def _p_values(row: Mapping[str, Any]) -> str:
    """Return both p values, or the one of a single seed, where they are the same."""
    if row["n_cells"] == row["n_tasks"]:
        return f"{_p(row, TASKS)} over tasks"
    return f"{_p(row, SEEDS)} over tasks x seeds, {_p(row, TASKS)} over tasks alone"


def _p(row: Mapping[str, Any], test: str) -> str:
    return "not tested" if row[test] is None else p_value(row[test])
