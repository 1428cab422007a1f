"""What stands where in the tables that compare: maps, and all tests of a pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.tables.curves import RANKINGS
from circuit_transfer.tables.explanations import INTERVAL_NOTE, MARK_NOTE, explain
from circuit_transfer.tables.transfers import LEVEL, Pair, mean_cell, verdict
from circuit_transfer.tables.typesetting import HALF_WIDTH, MARK, Table
from circuit_transfer.transfer.controls import TARGET_ONLY

# The controls of what a map is given, and those that need no map.
GIVEN = ("source-free", "random-source", "other-family")
WITHOUT_MAP = ("mlps-first", "mean-gold", "ridge", *TARGET_ONLY, "free-mask")
TESTED = ("p_permutation_holm", "p_wilcoxon_holm", "p_tasks", "p_tasks_holm")
TESTS_NOTE = (
    "CPR of the aligned circuit minus that of the other, mean over tasks; low, high: "
    "its 95 % interval over tasks and seeds within them; d z: mean over standard "
    "deviation of the differences. All p values are two-sided; holm: adjusted for the "
    "comparisons of one map with its controls. Sign flips (permutation) and Wilcoxon's "
    "signed ranks are over tasks x seeds, p tasks over the tasks' means alone: seeds "
    "of a task are not further tasks, so that is the stricter test. higher: yes at "
    ".05, or lower, else no."
)


def maps_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Sequence[str],
    methods: Sequence[str],
    controls: Sequence[str],
) -> Table:
    """CPR of one pair, mean over tasks: every map by the source scores it is given.

    Below the maps, in a column of their own, those controls that need no map.
    """
    pair = Pair(statistics, source, target)
    given = [each for each in GIVEN if each in controls]
    references = ["gold", RANKINGS, *(each for each in WITHOUT_MAP if each in controls)]
    columns = ("real", *given, "reference")
    lines = []
    for method in methods:
        for protocol, aligned in pair.protocols.items():
            start = {"method": method, "left_out": protocol}
            for name in maps:
                line = start | {"map": name}
                for column, circuit in zip(columns, (aligned, *given), strict=False):
                    level = pair.level(method, circuit, name=name, protocol=protocol)
                    mark = pair.mark(method, name, protocol, circuit)
                    line |= mean_cell(column, level) | {column + MARK: mark}
                lines.append(line)
            for circuit in references:
                level = pair.level(method, circuit, name="", protocol=protocol)
                cell = mean_cell("reference", level)
                lines.append(start | {"map": circuit} | cell)
    schema = dict.fromkeys(("method", "left_out", "map"), pl.String)
    for column in columns:
        schema |= {column: pl.Float64, column + HALF_WIDTH: pl.Float64}
        schema |= {column + MARK: pl.String}
    notes = (
        "Columns: the source scores that a map is given. A map uses the source where "
        f"real scores lie above {', '.join(GIVEN)}, with the family left out.",
        INTERVAL_NOTE,
        MARK_NOTE,
        *pair.collapsed(maps, [*pair.protocols.values(), *given, *references]),
    )
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=3,
        blocks=2,
        note=" ".join(notes),
        explanations=explain([*maps, *given, *references]),
    )


def comparisons_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """Every comparison of one pair: the difference, its interval, adjusted p values."""
    pair = Pair(statistics, source, target)
    shown = ("mean_difference", "low", "high", "d_z", *TESTED, "n_cells", "n_tasks")
    lines = []
    for method in methods:
        for protocol in pair.protocols:
            for name in maps:
                for row in pair.differences:
                    place = (row["method"], row["protocol"], row["map"])
                    if place != (method, protocol, name):
                        continue
                    line = {"method": method, "left_out": protocol, "map": name}
                    kind = "map " if row["comparison"] == "map" else ""
                    line["against"] = kind + row["against"]
                    line |= {column: row[column] for column in shown}
                    line["higher"] = verdict(row, "p_permutation_holm")
                    line["higher_over_tasks"] = verdict(row, "p_tasks_holm")
                    lines.append(line)
    schema = dict.fromkeys(("method", "left_out", "map", "against"), pl.String)
    schema |= dict.fromkeys(shown[:-2], pl.Float64)
    schema |= dict.fromkeys(shown[-2:], pl.Int64)
    schema |= dict.fromkeys(("higher", "higher_over_tasks"), pl.String)
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=4,
        blocks=3,
        note=TESTS_NOTE + _floor(pair.differences),
    )


def _floor(differences: Sequence[Mapping[str, Any]]) -> str:
    """Say what the test over tasks could show at best, however large a difference."""
    controls = [row for row in differences if row["comparison"] == "control"]
    if not controls:
        return ""
    places = [(row["method"], row["map"], row["protocol"]) for row in controls]
    comparisons = max(map(places.count, places))
    tasks = max(row["n_tasks"] for row in controls)
    least = min(row["least_p_tasks"] for row in controls)
    adjusted = least * comparisons
    text = (
        f" With {tasks} tasks p tasks cannot fall below {least:.3f}, and after Holm's "
        f"adjustment for {comparisons} controls not below {min(1, adjusted):.3f}"
    )
    return text + (": it would need more tasks." if adjusted > LEVEL else ".")
