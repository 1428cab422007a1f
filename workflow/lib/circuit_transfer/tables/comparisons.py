"""The tables that compare: maps, and all tests of a pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.tables.by_method import Controls, Maps, every_name
from circuit_transfer.tables.cells import cell_schema, level_cell
from circuit_transfer.tables.curves import RANKINGS
from circuit_transfer.tables.differences import BY_MAP
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    INTERVAL_NOTE,
    MARK_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import SHOWN
from circuit_transfer.tables.transfers import LEVEL, Pair, verdict
from circuit_transfer.tables.typesetting import MARK, Table
from circuit_transfer.transfer.controls import TARGET_ONLY
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE, EDGE_TARGET_ONLY

# The controls of what a map is given, and those that need no map.
GIVEN = ("source-free", "random-source", "other-family")
OF_TARGET = tuple(dict.fromkeys((*TARGET_ONLY, *EDGE_TARGET_ONLY)))
WITHOUT_MAP = ("mlps-first", "mean-gold", "ridge", *OF_TARGET, "free-mask")
TESTED = ("p_permutation_holm", "p_wilcoxon_holm", "p_tasks", "p_tasks_holm")
TESTS_NOTE = (
    "The measure of the aligned circuit minus that of the other, mean over tasks; CPR "
    "and accuracy area: higher is better, CMD: lower is better. low, high: the 95 % "
    "interval of the difference over tasks and seeds within them; d z: mean over "
    "standard deviation of the differences. All p values are two-sided; holm: adjusted "
    "for the comparisons of one map with its controls, by one measure. Sign flips "
    "(permutation) and Wilcoxon's signed ranks are over tasks x seeds, p tasks over "
    "the tasks' means alone: seeds of a task are not further tasks, so that is the "
    "stricter test. better: yes at .05, or worse, else no."
)
GIVEN_NOTE = (
    "Columns: the source scores that a map is given. A map uses the source where real "
    f"scores are better than {', '.join(GIVEN)}, with the family left out."
)


def maps_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    controls: Controls,
) -> Table:
    """Circuits of one pair, mean over tasks: every map by the scores it is given.

    A block for each method, protocol and measure. Below the maps, in a column of their
    own, those controls that need no map.
    """
    pair = Pair(statistics, source, target)
    known = every_name(controls)
    given = [each for each in (*GIVEN, DEGREE_SOURCE) if each in known]
    others = [each for each in WITHOUT_MAP if each in known]
    shown = [*given, "gold", RANKINGS, *others]
    columns = ("real", *given, "reference")
    lines = []
    for method, protocol, measure in product(maps, pair.protocols, SHOWN):
        start = {"method": method, "left_out": protocol, "measure": measure.name}
        circuits = dict(zip(columns, (pair.protocols[protocol], *given), strict=False))
        for name in maps[method]:
            line = start | {"map": name}
            for column, circuit in circuits.items():
                level = pair.level(method, circuit, name=name, protocol=protocol)
                mark = pair.mark(method, name, protocol, circuit, measure)
                line |= level_cell(column, level, measure) | {column + MARK: mark}
            lines.append(line)
        own = (name for name in others if name in controls[method])
        for name in ("gold", RANKINGS, *own):
            level = pair.level(method, name, name="", protocol=protocol)
            line = start | {"map": name}
            lines.append(line | level_cell("reference", level, measure))
    schema = dict.fromkeys(("method", "left_out", "measure", "map"), pl.String)
    for each in columns:
        schema |= cell_schema(each) | {each + MARK: pl.String}
    notes = (
        *(GIVEN_NOTE, INTERVAL_NOTE, EXAGGERATION_NOTE, MARK_NOTE),
        *pair.collapsed(maps, [*pair.protocols.values(), *shown]),
    )
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=4,
        blocks=3,
        note=" ".join(notes),
        explanations=explain([*MEASURE_EXPLANATIONS, *every_name(maps), *shown]),
    )


def comparisons_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
) -> Table:
    """Every comparison of one pair: the difference, its interval, adjusted p values."""
    pair = Pair(statistics, source, target)
    shown = ("mean_difference", "low", "high", "d_z", *TESTED, "n_cells", "n_tasks")
    lines = []
    of_block: dict[tuple, list] = {}
    for row in pair.differences:
        block = tuple(row[key] for key in ("method", "protocol", "map", "measure"))
        of_block.setdefault(block, []).append(row)
    blocks = (
        (method, protocol, name, measure)
        for method, protocol in product(maps, pair.protocols)
        for name, measure in product(maps[method], SHOWN)
    )
    for method, protocol, name, measure in blocks:
        for row in of_block.get((method, protocol, name, measure.column), ()):
            line = {"method": method, "left_out": protocol, "map": name}
            kind = "map " if row["comparison"] in BY_MAP else ""
            line |= {"measure": measure.name, "against": kind + row["against"]}
            line |= {column: row[column] for column in shown}
            line["better"] = verdict(row, "p_permutation_holm")
            line["better_over_tasks"] = verdict(row, "p_tasks_holm")
            lines.append(line)
    labels = ("method", "left_out", "map", "measure", "against")
    schema = dict.fromkeys(labels, pl.String)
    schema |= dict.fromkeys(shown[:-2], pl.Float64)
    schema |= dict.fromkeys(shown[-2:], pl.Int64)
    schema |= dict.fromkeys(("better", "better_over_tasks"), pl.String)
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=5,
        blocks=4,
        note=TESTS_NOTE + _floor_note(pair.differences),
        explanations=explain(MEASURE_EXPLANATIONS),
    )


@dataclass(frozen=True)
class Floor:
    """The smallest p value over tasks, however large the differences to controls.

    Attributes:
        tasks: how many tasks there are.
        controls: how many controls the p value is adjusted for.
        p: the smallest without adjustment.
        adjusted: the smallest after Holm's adjustment.
    """

    tasks: int
    controls: int
    p: float
    adjusted: float


def floor_over_tasks(differences: Sequence[Mapping[str, Any]]) -> Floor | None:
    """Return what the test over tasks could show at best; None without a control.

    Args:
        differences: rows of the statistics.
    """
    rows = [row for row in differences if row["comparison"] == "control"]
    if not rows:
        return None
    block = ("method", "map", "protocol", "measure")
    places = Counter(tuple(row[key] for key in block) for row in rows)
    controls = max(places.values())
    tasks = max(row["n_tasks"] for row in rows)
    least = min(row["least_p_tasks"] for row in rows)
    return Floor(tasks, controls, least, min(1.0, least * controls))


def _floor_note(differences: Sequence[Mapping[str, Any]]) -> str:
    floor = floor_over_tasks(differences)
    if floor is None:
        return ""
    text = (
        f" With {floor.tasks} tasks p tasks cannot fall below {floor.p:.3f}, and after "
        f"Holm's adjustment for {floor.controls} controls not below "
        f"{floor.adjusted:.3f}"
    )
    return text + (": it would need more tasks." if floor.adjusted > LEVEL else ".")
