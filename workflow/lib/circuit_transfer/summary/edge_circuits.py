"""Whether circuits of edges are faithful, how large they are, and what they exceed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.summary.wording import (
    Answer,
    all_tasks,
    counted,
    joined,
    listed,
    number,
    with_interval,
)
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import (
    FOUND,
    LIFTED,
    NODES,
    RANDOM,
    RANDOM_EFFECTIVE,
    SIGNED,
)
from circuit_transfer.tables.edge_differences import BY_METHOD, BY_RANKING, OF_TASK
from circuit_transfer.tables.edge_levels import EdgeLevels, Row
from circuit_transfer.tables.explanations import explain
from circuit_transfer.tables.measures import CMD, CPR, SHOWN, exaggerates
from circuit_transfer.tables.transfers import LEVEL
from circuit_transfer.tables.typesetting import HIGH, LOW, Table

QUESTION = "How few edges suffice?"
# What the signed ranking is compared with, in words; `{}` is the other's name.
COMPARISONS = {
    RANDOM: "random edges",
    RANDOM_EFFECTIVE: "random edges of equal effective size",
    LIFTED: "the scores of nodes by {} lifted to edges",
    NODES: "circuits of nodes by {} at equal shares",
    BY_RANKING: "the ranking by absolute scores",
    BY_METHOD: "circuits of edges by {}",
}
Rows = Sequence[Mapping[str, Any]]
NOTE = (
    "Circuits of the signed ranking minus the others at equal shares, in brackets the "
    "95 % interval: over tasks and seeds, of one task over examples. p: adjusted by "
    "Holm, over tasks, of one task over examples. share for .9: how many times as "
    "large a circuit has faithfulness .9; share for distance .1: the same for a "
    "faithfulness at most .1 above or below 1, which is how CMD counts."
)
# How many times as large circuits are, by the measure that is compared.
SHARES = {"share for .9": "edges_needed", "share for distance .1": "close_needed"}


def _ends(column: str) -> tuple[str, str, str]:
    return column, column + LOW, column + HIGH


SCHEMA = dict.fromkeys(("method", "minus"), pl.String) | dict.fromkeys(
    (
        *(
            name
            for measure in (CPR, CMD)
            for name in (*_ends(measure.name), f"p_{measure.name}")
        ),
        *(name for share in SHARES for name in _ends(share)),
    ),
    pl.Float64,
)


def edges_answer(
    levels: EdgeLevels,
    *,
    target: str,
    edge_method: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Answer:
    """Return how few edges suffice, and what circuits of edges were shown to exceed.

    Of the signed ranking. A circuit is better than another on a task if CPR and CMD
    differ in its favour, each by the bootstrap over distinct pairs of prompts, adjusted
    by Holm; tests over tasks, which few tasks cannot pass, are in `differences_table`.

    Args:
        levels: the statistics of the model.
        target: the model.
        edge_method: the method that scored the edges.
        methods: those that scored nodes.
        tasks: of the study.
    """
    row = Row(edge_method, FOUND, SIGNED)
    found = {task: levels.level(row, task) for task in tasks}
    found = {task: level for task, level in found.items() if level}
    start = f"By {edge_method}, circuits of edges of {target}"
    if not found:
        return Answer(f"{start} could not be measured.")
    sizes = [f"{_size(level)} on {task}" for task, level in found.items()]
    nodes = {
        method: {task: levels.level(Row(method, NODES, None), task) for task in found}
        for method in methods[:1]
    }
    lead = [
        f"{start} have faithfulness .9 with, of the edges, {listed(sizes, 'tasks')}"
        f"{''.join(_of_nodes(nodes))}."
    ]
    over = f" (means over {len(found)} tasks)" if len(found) > 1 else ""
    details = [f"They have {_measured(levels.level(row))}{over}.", *_counts(found)]
    others = dict(_others(levels, row))
    lead += [*_verdicts(others), *_exaggeration(found)]
    return Answer(" ".join(lead), " ".join(details))


def _others(levels: EdgeLevels, row: Row) -> Iterator[tuple[str, Rows]]:
    """Yield what a ranking is compared with, in words, and the differences."""
    for comparison, words in COMPARISONS.items():
        rows = levels.differences(row, comparison)
        for against in dict.fromkeys(each["against"] for each in rows):
            of_one = [each for each in rows if each["against"] == against]
            yield words.format(against), of_one


def _size(level: Mapping[str, Any]) -> str:
    share = level["edges_needed"]
    if share is None:
        return "no evaluated share"
    ends = level["edges_needed_low"], level["edges_needed_high"]
    interval = "" if None in ends else " [{}, {}]".format(*map(_percent, ends))
    return f"{_percent(share)}{interval} %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


def _of_nodes(nodes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    for method, found in nodes.items():
        sizes = [f"{_size(level)} on {task}" for task, level in found.items() if level]
        if sizes:
            yield (
                f"; circuits of nodes by {method} need, of the nodes, "
                f"{listed(sizes, 'tasks')}"
            )


def _counts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield how many edges suffice, and how many of them are effective."""
    texts = [
        f"{counted(level['n_edges_needed'], 'edge')} on {task}, "
        f"{level['effective_needed']:,} of them on a path from the input to the logits"
        for task, level in found.items()
        if level["n_edges_needed"] is not None
    ]
    if texts:
        yield f"So many suffice: {'; '.join(texts)}."


def _verdicts(others: Mapping[str, Rows]) -> Iterator[str]:
    """Yield what circuits were shown to exceed, one sentence for each verdict."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, rows in others.items():
        names.setdefault(_verdict(rows), []).append(name)
    for (verdict, unsure), of_verdict in names.items():
        yield f"{verdict} {joined(of_verdict)}{unsure}."


def _verdict(rows: Rows) -> tuple[str, str]:
    """Say on which tasks circuits are better, or worse, and on which it is open."""
    verdicts = _by_task(rows)
    of = {
        word: [task for task, each in verdicts.items() if each == word]
        for word in ("better", "worse", None)
    }
    count = len(verdicts)
    for word in ("better", "worse"):
        if len(of[word]) == count:
            where = f"On {all_tasks(count)} they" if count > 1 else "They"
            return f"{where} are {word}, by CPR and CMD, than", ""
    if len(of[None]) == count:
        return "They were not shown to be better, by CPR and CMD, than", ""
    word, other = ("better", "worse") if of["better"] else ("worse", "better")
    unsure = f"; not shown on {listed(of[None], 'tasks')}" if of[None] else ""
    unsure += f"; {other} on {listed(of[other], 'tasks')}" if of[other] else ""
    where = f"On {len(of[word])} of {count} tasks they"
    return f"{where} are {word}, by CPR and CMD, than", unsure


def _by_task(rows: Rows) -> dict[str, str | None]:
    """Return by task whether circuits are better or worse by all measures, or None."""
    names = {measure.column: measure for measure in (CPR, CMD)}
    sides: dict[str, set[str | None]] = {}
    for row in rows:
        if row["task"] == MEAN or row["measure"] not in names:
            continue
        p = row[f"{OF_TASK}_holm"]
        higher = row["mean_difference"] > 0
        better = higher == names[row["measure"]].higher
        side = "better" if better else "worse"
        is_shown = p is not None and p < LEVEL
        sides.setdefault(row["task"], set()).add(side if is_shown else None)
    return {
        task: next(iter(found)) if len(found) == 1 else None
        for task, found in sides.items()
    }


def differences_table(levels: EdgeLevels, *, edge_methods: Sequence[str]) -> Table:
    """Return circuits of edges minus what they are compared with, by method.

    Means over tasks with their tests, or those of the one task.
    """
    lines = []
    for method in edge_methods:
        for name, rows in _others(levels, Row(method, FOUND, SIGNED)):
            tasks = {row["task"] for row in rows} - {MEAN}
            shown = MEAN if len(tasks) > 1 else min(tasks)
            found = {row["measure"]: row for row in rows if row["task"] == shown}
            lines.append({"method": method, "minus": name} | _cells(found))
    frame = pl.DataFrame(lines, schema=SCHEMA)
    return Table(frame, labels=2, note=NOTE, explanations=explain(["CPR", "CMD"]))


def _cells(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the cells of one comparison, from its rows by measure."""
    cells: dict[str, float | None] = {}
    for measure in (CPR, CMD):
        row = found.get(measure.column, {})
        test = "p_tasks_holm" if row.get("task") == MEAN else f"{OF_TASK}_holm"
        cells |= dict(zip(_ends(measure.name), _interval(row), strict=True))
        cells[f"p_{measure.name}"] = row.get(test)
    for name, measured in SHARES.items():
        ends = (
            None if e is None else 10**e for e in _interval(found.get(measured, {}))
        )
        cells |= dict(zip(_ends(name), ends, strict=True))
    return cells


def _interval(row: Mapping[str, Any]) -> list[float | None]:
    return [row.get(name) for name in ("mean_difference", "low", "high")]


def _measured(level: Mapping[str, Any]) -> str:
    return joined([f"{m.name} {with_interval(level, m.column)}" for m in SHOWN])


def _exaggeration(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    high = [
        f"{task} (up to {number(level['max_faithfulness'])})"
        for task, level in found.items()
        if exaggerates(level)
    ]
    if high:
        yield (
            f"They exaggerate, with faithfulness above 1, on {listed(high, 'tasks')}: "
            "there CMD has to be read, not CPR."
        )


def edges_line(
    statistics: pl.DataFrame,
    *,
    target: str,
    edge_methods: Sequence[str],
    tasks: Sequence[str],
) -> str:
    """Return how few edges of a model suffice by the first method, for the terminal."""
    levels = EdgeLevels(statistics, target)
    row = Row(edge_methods[0], FOUND, SIGNED)
    found = {task: levels.level(row, task) for task in tasks}
    start = f"Circuits of edges of {target} by {edge_methods[0]}:"
    level = levels.level(row)
    if not level:
        return f"{start} not measured"
    texts = [
        f"{_percent(level['edges_needed'])} % ({task})"
        for task, level in found.items()
        if level.get("edges_needed") is not None
    ]
    needed = f"with {listed(texts, 'tasks')} of the edges" if texts else "at no share"
    measures = [f"{m.name} {with_interval(level, m.column)}" for m in (CPR, CMD)]
    return f"{start} faithfulness .9 {needed}; {', '.join(measures)}"
