"""The tables of transfers: leaderboard, controls, scaling."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.tables.cells import cell_schema, level_cell
from circuit_transfer.tables.curves import (
    RANKINGS,
    SEEN,
    UNTRAINED,
    pair_rows,
    shown_protocols,
)
from circuit_transfer.tables.differences import MEAN
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
    HALF_WIDTH,
    MARK,
    SPREAD,
    Table,
    half_width,
)

MEAN_NOTE = "The mean is over the tasks that have a cell, (n/N) where some have none."
BOLD_NOTE = (
    "Bold: the best circuit of its column and method by all three measures, CPR, CMD "
    "and accuracy area; none where they disagree. This is no test: significant "
    "differences are in the table of tests."
)
LEVEL = 0.05
BEST_NOTE = (
    f"± half of the 95 % interval over examples (bootstrap). {BEST_BY_CPR}: chosen by "
    "CPR, on the same examples, of several circuits, so its CPR lies a little too high."
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
        tested = ("method", "map", "protocol", "against", "measure")
        self._tests = {
            tuple(row[key] for key in tested): row
            for row in self.differences
            if row["comparison"] != "map"
        }

    @property
    def random(self) -> str:
        """The baseline: the alignment before training, or else random rankings."""
        return UNTRAINED if self.has(UNTRAINED) else RANKINGS

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

        A circuit without a protocol is listed under both, and random rankings, which
        have no method, under each.
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

    def test(
        self, method: str, name: str, protocol: str, against: str, measure: Measure
    ) -> dict[str, Any] | None:
        """Return the tested difference of a map's aligned circuit to another one."""
        return self._tests.get((method, name, protocol, against, measure.column))

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
    map_name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """Circuits of one pair and map: each method's regimes, gold and random, by task.

    A block for each method and measure.

    Args:
        statistics: the levels and differences of all circuits, of one ablation.
        source: the source model.
        target: the target model.
        map_name: the map.
        tasks: the columns.
        methods: the blocks.
    """
    pair = Pair(statistics, source, target)
    rows = (pair.random, "gold", *SEEN, *pair.protocols.values())
    lines = [
        {"method": method, "measure": measure.name, "circuit": row}
        | _cells(pair, method, row, tasks, name=map_name, measure=measure)
        for method in methods
        for measure in SHOWN
        for row in rows
    ]
    notes = (MEAN_NOTE, INTERVAL_NOTE, BOLD_NOTE, EXAGGERATION_NOTE)
    notes += pair.examples(tasks) + pair.collapsed([map_name], rows)
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
    map_name: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    controls: Sequence[str],
) -> Table:
    """Circuits of one pair and map: each control beside the aligned circuit.

    A block for each method, for what was left out of training, a task or its family,
    and for each measure.
    """
    pair = Pair(statistics, source, target)
    first, *_ = pair.protocols
    lines = []
    for method, protocol in product(methods, pair.protocols):
        best = ("best",) if protocol == first else ()
        shown = (*controls, RANKINGS, pair.protocols[protocol], *best, "gold")
        place = {"name": map_name, "protocol": protocol}
        for measure, circuit in product(SHOWN, shown):
            labels = {"method": method, "left_out": protocol, "measure": measure.name}
            labels["circuit"] = BEST_BY_CPR if circuit == "best" else circuit
            cells = _cells(pair, method, circuit, tasks, measure=measure, **place)
            mark = pair.mark(method, map_name, protocol, circuit, measure)
            lines.append(labels | cells | {f"{MEAN}{MARK}": mark})
    compared = ", ".join((*SEEN, pair.protocols[first]))
    notes = (
        MEAN_NOTE,
        f"{BEST_BY_CPR}: on each task the one of {compared} with the highest CPR.",
        INTERVAL_NOTE,
        EXAGGERATION_NOTE,
        MARK_NOTE,
        *pair.examples(tasks),
        *pair.collapsed([map_name], [*controls, *pair.protocols.values()]),
    )
    return Table(
        _by_task(lines, ("method", "left_out", "measure", "circuit"), tasks),
        labels=4,
        blocks=3,
        covered=("n_tasks", len(tasks)),
        note=" ".join(notes),
        explanations=explain(
            [*MEASURE_EXPLANATIONS, *controls, RANKINGS, *pair.protocols.values()]
        ),
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


def scaling(
    statistics: pl.DataFrame,
    *,
    task: str,
    transfers: Iterable[Mapping[str, str]],
    map_name: str,
    methods: Sequence[str],
) -> Table:
    """Circuits on one task: what each pair's best alignment reaches of the gold one."""
    transfers = [(pair["source"], pair["target"]) for pair in transfers]
    pairs = {pair: Pair(statistics, *pair) for pair in transfers}
    # The same baseline for all pairs, so that the column has one meaning.
    untrained = all(pair.has(UNTRAINED) for pair in pairs.values())
    random = UNTRAINED if untrained else RANKINGS
    columns = {random: random, BEST_BY_CPR: "best", "gold": "gold"}
    lines = []
    for method, measure in product(methods, SHOWN):
        for models, pair in pairs.items():
            line = {"method": method, "measure": measure.name}
            line["pair"] = " → ".join(models)
            for column, circuit in columns.items():
                level = pair.level(method, circuit, task, name=map_name)
                line |= level_cell(column, level, measure)
            if measure is CPR:
                line |= _recovery(pair.level(method, "best", task, name=map_name))
            lines.append(line)
    schema = dict.fromkeys(("method", "measure", "pair"), pl.String)
    for column in columns:
        schema |= cell_schema(column)
    share = "recovery_percent"
    schema |= {share: pl.Float64, share + HALF_WIDTH: pl.Float64}
    note = "recovery: the best alignment's CPR as a share of the gold circuit's."
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=3,
        blocks=2,
        note=f"{note} {BEST_NOTE} {EXAGGERATION_NOTE}",
        explanations=explain([*MEASURE_EXPLANATIONS, *columns]),
    )


def _recovery(level: Mapping[str, Any]) -> dict[str, float]:
    share, half = level.get("recovery"), half_width(level, "recovery")
    return {
        "recovery_percent": None if share is None else 100 * share,
        f"recovery_percent{HALF_WIDTH}": None if half is None else 100 * half,
    }
