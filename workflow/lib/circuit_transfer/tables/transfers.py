"""The tables of one pair's transfers: leaderboard and controls."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.tables.by_method import (
    Controls,
    Maps,
    every_name,
    main_maps,
    only_main,
)
from circuit_transfer.tables.cells import cell_schema, level_cell
from circuit_transfer.tables.curves import (
    RANKINGS,
    SEEN,
    UNTRAINED,
    pair_rows,
    shown_protocols,
)
from circuit_transfer.tables.differences import BY_MAP, MEAN
from circuit_transfer.tables.edge_transfers import LIFTED, random_method
from circuit_transfer.tables.explanations import (
    BEST_BY_CPR,
    COLLAPSE_NOTE,
    EXAGGERATION_NOTE,
    INTERVAL_NOTE,
    MARK_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import CPR, SHOWN, Measure, agreed_best
from circuit_transfer.tables.typesetting import (
    MARK,
    SPREAD,
    Table,
)

MEAN_NOTE = "The mean is over the tasks that have a cell, (n/N) where some have none."
BOLD_NOTE = (
    "Bold: the best circuit of its column and method by all three measures, CPR, CMD "
    "and accuracy area; none where they disagree. This is no test: significant "
    "differences are in the table of tests."
)
LEVEL = 0.05


class Pair:
    """The statistics of one pair, by name."""

    def __init__(
        self, statistics: pl.DataFrame, source: str | None, target: str
    ) -> None:
        """Take the rows of the pair, and of the target's gold and random circuits."""
        frame = pair_rows(statistics, source, target)
        self.protocols = shown_protocols(frame["circuit"])
        keys = ("method", "map", "circuit", "protocol", "task")
        self._levels = {
            tuple(row[key] for key in keys): row
            for row in frame.filter(pl.col("row") == "level").to_dicts()
        }
        self.differences = frame.filter(pl.col("row") == "difference").to_dicts()
        tested = ("method", "map", "protocol", "against", "measure")
        self._tests = {
            tuple(row[key] for key in tested): row
            for row in self.differences
            if row["comparison"] not in BY_MAP
        }
        self._lifted: dict[tuple, dict[str, dict[str, Any]]] = {}
        for row in self.differences:
            if row["comparison"] == "lifted":
                key = (row["method"], row["map"], row["protocol"], row["measure"])
                self._lifted.setdefault(key, {})[row["against"]] = row

    def random(self, method: str) -> str:
        """Return a method's baseline: a random alignment, or else random rankings."""
        return UNTRAINED if self.has(UNTRAINED, method) else RANKINGS

    def has(self, circuit: str, method: str | None = None) -> bool:
        """Return whether a circuit was evaluated at all, of a method or of any."""
        return any(
            key[2] == circuit and method in (key[0], None) for key in self._levels
        )

    def level(
        self,
        method: str,
        circuit: str,
        task: str = MEAN,
        *,
        name: str,
        protocol: str | None = None,
    ) -> dict[str, Any]:
        """Return the level of a circuit of a map, or of one without; else nothing.

        A circuit without a protocol is listed under both, and random rankings, which
        have no method, under each.
        """
        method = random_method(method) if circuit == RANKINGS else method
        for left_out, aligned in self.protocols.items():
            protocol = left_out if circuit == aligned else protocol
        for map_name in (name, None):
            for left_out in (protocol, None):
                key = (method, map_name, circuit, left_out, task)
                if key in self._levels:
                    return self._levels[key]
        return {}

    def examples(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return a note of how many examples the tasks have, and how many distinct."""
        counts = {
            row["task"]: (row["n_examples"], row["n_distinct"])
            for row in self._levels.values()
            if row["n_examples"] is not None
        }
        if not any(task in counts for task in tasks):
            return ()
        known = [
            "{} {} ({})".format(task, *counts[task]) for task in tasks if task in counts
        ]
        return (f"Examples (distinct pairs of prompts): {', '.join(known)}.",)

    def collapsed(self, maps: Maps, circuits: Sequence[str]) -> tuple[str, ...]:
        """Return a note of the circuits of maps whose training collapsed, if there are.

        A circuit of no map, such as the free mask, is counted as well.

        Args:
            maps: by method.
            circuits: which ones.
        """
        levels = [
            row
            for row in self._levels.values()
            if row["n_collapsed"]
            and row["map"] in (*maps.get(row["method"], ()), None)
            and row["task"] != MEAN
            and row["circuit"] in circuits
        ]
        places = [
            "{circuit} by {method} on {task}: {n_collapsed}".format(**row)
            for row in levels
        ]
        return (f"{COLLAPSE_NOTE} {'; '.join(places)}.",) if places else ()

    def test(
        self, method: str, name: str, protocol: str, against: str, measure: Measure
    ) -> dict[str, Any] | None:
        """Return the tested difference of a map's aligned circuit to another one."""
        return self._tests.get((method, name, protocol, against, measure.column))

    def lifted_test(
        self, method: str, name: str, protocol: str, measure: Measure
    ) -> dict[str, Any] | None:
        """Return the tested difference of a map of edges to lifted scores of nodes.

        Of several lifted maps, that to the same map of nodes, or else to the one with
        the highest CPR.
        """
        rows = {
            each: self._lifted.get((method, name, protocol, each), {})
            for each in (measure.column, CPR.column)
        }
        against = f"{LIFTED}{name}"
        if against not in rows[CPR.column]:
            gains = {
                each: row["mean_difference"] for each, row in rows[CPR.column].items()
            }
            against = min(gains, key=gains.get, default=None)
        return rows[measure.column].get(against)

    def mark(
        self, method: str, name: str, protocol: str, against: str, measure: Measure
    ) -> str:
        """Return the mark of a circuit that the aligned one was shown to exceed."""
        row = self.test(method, name, protocol, against, measure)
        if not row or verdict(row, "p_permutation_holm") != "yes":
            return ""
        return "‡" if verdict(row, "p_tasks_holm") == "yes" else "†"


def verdict(row: Mapping[str, Any], test: str) -> str:
    """Return whether a circuit was shown to be better: `yes`, `no`, or `worse`."""
    if row[test] >= LEVEL:
        return "no"
    (higher,) = (each.higher for each in SHOWN if each.column == row["measure"])
    return "yes" if (row["mean_difference"] > 0) == higher else "worse"


def leaderboard(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    tasks: Sequence[str],
) -> Table:
    """Circuits of one pair by main maps: every method's regimes, gold and random.

    A block for each method and measure.

    Args:
        statistics: the levels and differences of all circuits, of one ablation.
        source: the source model.
        target: the target model.
        maps: by method, in the order of the blocks; the main one is shown.
        tasks: the columns.
    """
    pair = Pair(statistics, source, target)
    others = ("gold", *SEEN, *pair.protocols.values())
    lines = [
        {"method": method, "measure": measure.name, "circuit": row}
        | _cells(pair, method, row, tasks, name=name, measure=measure)
        for method, name in main_maps(maps).items()
        for measure in SHOWN
        for row in (pair.random(method), *others)
    ]
    rows = list(dict.fromkeys(line["circuit"] for line in lines))
    notes = (MEAN_NOTE, INTERVAL_NOTE, BOLD_NOTE, EXAGGERATION_NOTE)
    notes += pair.examples(tasks) + pair.collapsed(only_main(maps), rows)
    frame = _by_task(lines, ("method", "measure", "circuit"), tasks)
    # Means over fewer tasks are not compared.
    fewer = pl.col("n_tasks") < pl.col("n_tasks").max().over("method")
    compared = frame.with_columns(pl.when(~fewer).then(MEAN).alias(MEAN))
    return Table(
        frame,
        labels=3,
        blocks=2,
        best=agreed_best(compared, (*tasks, MEAN), blocks=["method"]),
        covered=("n_tasks", len(tasks)),
        note=" ".join(notes),
        explanations=explain([*MEASURE_EXPLANATIONS, *rows]),
    )


def controls_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    tasks: Sequence[str],
    controls: Controls,
) -> Table:
    """Circuits of one pair by main maps: each control beside the aligned circuit.

    A block for each method, for what was left out of training, a task or its family,
    and for each measure.
    """
    pair = Pair(statistics, source, target)
    first, *_ = pair.protocols
    lines = []
    for method, protocol in product(maps, pair.protocols):
        best = ("best",) if protocol == first else ()
        own = controls[method]
        shown = (*own, RANKINGS, pair.protocols[protocol], *best, "gold")
        place = {"name": maps[method][0], "protocol": protocol}
        for measure, circuit in product(SHOWN, shown):
            labels = {"method": method, "left_out": protocol, "measure": measure.name}
            labels["circuit"] = BEST_BY_CPR if circuit == "best" else circuit
            cells = _cells(pair, method, circuit, tasks, measure=measure, **place)
            mark = pair.mark(method, maps[method][0], protocol, circuit, measure)
            lines.append(labels | cells | {f"{MEAN}{MARK}": mark})
    compared = ", ".join((*SEEN, pair.protocols[first]))
    circuits = [*every_name(controls), *pair.protocols.values()]
    explained = [*every_name(controls), RANKINGS, *pair.protocols.values()]
    notes = (
        MEAN_NOTE,
        f"{BEST_BY_CPR}: on each task the one of {compared} with the highest CPR.",
        INTERVAL_NOTE,
        EXAGGERATION_NOTE,
        MARK_NOTE,
        *pair.examples(tasks),
        *pair.collapsed(only_main(maps), circuits),
    )
    return Table(
        _by_task(lines, ("method", "left_out", "measure", "circuit"), tasks),
        labels=4,
        blocks=3,
        covered=("n_tasks", len(tasks)),
        note=" ".join(notes),
        explanations=explain([*MEASURE_EXPLANATIONS, *explained]),
    )


def _cells(
    pair: Pair,
    method: str,
    circuit: str,
    tasks: Sequence[str],
    *,
    name: str,
    measure: Measure,
    protocol: str | None = None,
) -> dict[str, Any]:
    cells = {}
    for task in (*tasks, MEAN):
        level = pair.level(method, circuit, task, name=name, protocol=protocol)
        cells |= level_cell(task, level, measure)
    counts = {"n_tasks": level.get("n_tasks") or 0}
    counts["collapsed_fits"] = level.get("n_collapsed") or None
    return cells | counts | {SPREAD: level.get(measure.deviation)}


def _by_task(
    lines: Sequence[Mapping[str, Any]], labels: Sequence[str], tasks: Sequence[str]
) -> pl.DataFrame:
    schema = dict.fromkeys(labels, pl.String)
    for task in (*tasks, MEAN):
        schema |= cell_schema(task)
    schema |= {MEAN + MARK: pl.String, "n_tasks": pl.Int64}
    schema |= {SPREAD: pl.Float64, "collapsed_fits": pl.Int64}
    frame = pl.DataFrame(lines, schema=schema)
    none = frame["collapsed_fits"].is_null().all()
    return frame.drop("collapsed_fits") if none else frame
