"""What stands where in the tables of transfers: leaderboard, controls, scaling."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.tables.curves import (
    RANKINGS,
    SEEN,
    UNTRAINED,
    pair_rows,
    shown_protocols,
)
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.explanations import (
    COLLAPSE_NOTE,
    INTERVAL_NOTE,
    MARK_NOTE,
    explain,
)
from circuit_transfer.tables.typesetting import (
    HALF_WIDTH,
    MARK,
    SPREAD,
    Table,
    half_width,
)

MEAN_NOTE = "The mean is over the tasks that have a cell, (n/N) where some have none."
RANDOM_NOTE = {
    True: "random: untrained alignments.",
    False: "random: random rankings of the nodes (untrained alignments were not run).",
}
RANKS_NOTE = (
    "Bold and underlined: the largest and second largest number, without a test; "
    "significant differences are in the table of tests."
)
LEVEL = 0.05
BEST_NOTE = (
    "± half of the 95 % interval over examples (bootstrap). best: chosen on the same "
    "examples, of several circuits, so it lies a little too high."
)


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
        tested = ("method", "map", "protocol", "against")
        self._tests = {
            tuple(row[key] for key in tested): row
            for row in self.differences
            if row["comparison"] != "map"
        }

    def has(self, circuit: str) -> bool:
        """Return whether a circuit was evaluated at all."""
        return any(key[2] == circuit for key in self._levels)

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

        A circuit that knows no protocol stands under both, and random rankings, which
        know no method, under each.
        """
        method = "random" if circuit == RANKINGS else method
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

    def collapsed(
        self, names: Sequence[str], circuits: Sequence[str]
    ) -> tuple[str, ...]:
        """Return a note of the circuits of maps whose training collapsed, if there are.

        A circuit of no map, such as the free mask, is counted as well.
        """
        levels = [
            row
            for row in self._levels.values()
            if row["n_collapsed"]
            and row["map"] in (*names, None)
            and row["task"] != MEAN
            and row["circuit"] in circuits
        ]
        places = [
            "{circuit} by {method} on {task}: {n_collapsed}".format(**row)
            for row in levels
        ]
        return (f"{COLLAPSE_NOTE} {'; '.join(places)}.",) if places else ()

    def mark(self, method: str, name: str, protocol: str, against: str) -> str:
        """Return the mark of a circuit that the aligned one was shown to exceed."""
        row = self._tests.get((method, name, protocol, against))
        if not row or verdict(row, "p_permutation_holm") != "yes":
            return ""
        return "‡" if verdict(row, "p_tasks_holm") == "yes" else "†"


def verdict(row: Mapping[str, Any], test: str) -> str:
    """Return whether a difference was shown: `yes`, `no`, or that it is below 0."""
    if row[test] >= LEVEL:
        return "no"
    return "yes" if row["mean_difference"] > 0 else "lower"


def leaderboard(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    map_name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """CPR of one pair and map: each method's regimes beside gold and random, by task.

    Args:
        statistics: the levels and differences of all circuits, of one ablation.
        source: the source model.
        target: the target model.
        map_name: the map.
        tasks: the columns.
        methods: the blocks.
    """
    pair = Pair(statistics, source, target)
    untrained = pair.has(UNTRAINED)
    rows = {"random": UNTRAINED if untrained else RANKINGS, "gold": "gold"}
    rows |= {regime: regime for regime in (*SEEN, *pair.protocols.values())}
    lines = [
        {"method": method, "circuit": row}
        | _cells(pair, method, circuit, tasks, name=map_name)
        for method in methods
        for row, circuit in rows.items()
    ]
    notes = (MEAN_NOTE, RANDOM_NOTE[untrained], INTERVAL_NOTE, RANKS_NOTE)
    notes += pair.examples(tasks) + pair.collapsed([map_name], [*rows.values()])
    return Table(
        _by_task(lines, ("method", "circuit"), tasks),
        labels=2,
        ranked=True,
        covered=("n_tasks", len(tasks)),
        note=" ".join(notes),
        explanations=explain([*rows]),
    )


def controls_table(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    map_name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    controls: Sequence[str],
) -> Table:
    """CPR of one pair and map: each control beside the aligned circuit.

    A block for each method and for what was left out of training, a task or its family.
    """
    pair = Pair(statistics, source, target)
    first, *_ = pair.protocols
    lines = []
    for method in methods:
        for protocol, aligned in pair.protocols.items():
            best = ("best",) if protocol == first else ()
            for circuit in (*controls, RANKINGS, aligned, *best, "gold"):
                labels = {"method": method, "left_out": protocol, "circuit": circuit}
                mark = pair.mark(method, map_name, protocol, circuit)
                cells = _cells(
                    pair, method, circuit, tasks, name=map_name, protocol=protocol
                )
                lines.append(labels | cells | {f"{MEAN}{MARK}": mark})
    notes = (
        MEAN_NOTE,
        f"best: the best of {', '.join((*SEEN, pair.protocols[first]))} on each task.",
        INTERVAL_NOTE,
        MARK_NOTE,
        *pair.examples(tasks),
        *pair.collapsed([map_name], [*controls, *pair.protocols.values()]),
    )
    return Table(
        _by_task(lines, ("method", "left_out", "circuit"), tasks),
        labels=3,
        blocks=2,
        covered=("n_tasks", len(tasks)),
        note=" ".join(notes),
        explanations=explain([*controls, RANKINGS, *pair.protocols.values()]),
    )


def _cells(
    pair: Pair,
    method: str,
    circuit: str,
    tasks: Sequence[str],
    *,
    name: str,
    protocol: str | None = None,
) -> dict[str, Any]:
    cells = {}
    for task in (*tasks, MEAN):
        level = pair.level(method, circuit, task, name=name, protocol=protocol)
        cells[task] = level.get("cpr")
        cells[task + HALF_WIDTH] = half_width(level, "cpr")
    counts = {"n_tasks": level.get("n_tasks") or 0}
    counts["collapsed_fits"] = level.get("n_collapsed") or None
    return cells | counts | {SPREAD: level.get(SPREAD)}


def _by_task(
    lines: Sequence[Mapping[str, Any]], labels: Sequence[str], tasks: Sequence[str]
) -> pl.DataFrame:
    schema = dict.fromkeys(labels, pl.String)
    for task in (*tasks, MEAN):
        schema |= {task: pl.Float64, task + HALF_WIDTH: pl.Float64}
    schema |= {MEAN + MARK: pl.String, "n_tasks": pl.Int64}
    schema |= {SPREAD: pl.Float64, "collapsed_fits": pl.Int64}
    frame = pl.DataFrame(lines, schema=schema)
    none = frame["collapsed_fits"].is_null().all()
    return frame.drop("collapsed_fits") if none else frame


def scaling(
    statistics: pl.DataFrame,
    *,
    task: str,
    transfers: Iterable[Mapping[str, str]],
    map_name: str,
    methods: Sequence[str],
) -> Table:
    """CPR of one task: what each pair's best alignment reaches of the gold circuit."""
    columns = ("random", "best", "gold")
    transfers = [(pair["source"], pair["target"]) for pair in transfers]
    pairs = {pair: Pair(statistics, *pair) for pair in transfers}
    lines = []
    for method in methods:
        for models, pair in pairs.items():
            random = UNTRAINED if pair.has(UNTRAINED) else RANKINGS
            line = {"method": method, "pair": " → ".join(models)}
            for column, circuit in zip(columns, (random, "best", "gold"), strict=True):
                level = pair.level(method, circuit, task, name=map_name)
                line |= mean_cell(column, level)
            best = pair.level(method, "best", task, name=map_name)
            lines.append(line | _recovery(best))
    schema = {"method": pl.String, "pair": pl.String}
    for column in (*columns, "recovery_percent"):
        schema |= {column: pl.Float64, column + HALF_WIDTH: pl.Float64}
    note = "recovery: the best alignment's CPR as a share of the gold circuit's. "
    return Table(pl.DataFrame(lines, schema=schema), labels=2, note=note + BEST_NOTE)


def _recovery(level: Mapping[str, Any]) -> dict[str, float]:
    share, half = level.get("recovery"), half_width(level, "recovery")
    return {
        "recovery_percent": None if share is None else 100 * share,
        f"recovery_percent{HALF_WIDTH}": None if half is None else 100 * half,
    }


def mean_cell(column: str, level: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the CPR of a level and half the width of its interval, for a column."""
    return {
        column: level.get("cpr"),
        column + HALF_WIDTH: half_width(level, "cpr"),
    }
