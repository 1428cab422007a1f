"""Whether circuits are faithful: transferred ones, or those of the model itself."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import aligned_circuit, compared, verdict
from circuit_transfer.summary.wording import (
    Answer,
    all_tasks,
    joined,
    listed,
    number,
    with_interval,
)
from circuit_transfer.tables.by_method import Maps
from circuit_transfer.tables.cells import (
    cell_schema,
    level_cell,
    measure_cells,
    measure_schema,
)
from circuit_transfer.tables.curves import RANKINGS, SEEN
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import CMD, CPR, SHOWN, exaggerates
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import EXAGGERATES, Table

# Of the columns of tables with all measures.
NAMES = tuple(measure.name for measure in SHOWN)
TRANSFERRED = "Is the transfer faithful?"
FOUND = "Are the circuits faithful?"
NOT_BY_CPR = "there a high CPR does not show a good circuit, and CMD has to be read"
INTERVALS = "± half of the 95 % interval over test examples, for the fits as they are."


def transfer_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> Answer:
    """Return what the transferred circuits of one pair and method reach.

    Args:
        pair: its statistics.
        source: the source model.
        target: the target model.
        method: the attribution method.
        map_name: the map from source to target scores.
    """
    start = f"From {source} to {target} by {method},"
    protocol, circuit = aligned_circuit(pair, method, map_name)
    level = pair.level(method, circuit, name=map_name, protocol=protocol)
    if level.get("cpr") is None:
        return Answer(f"{start} no transferred circuit could be measured.")
    gold = pair.level(method, "gold", name=map_name)
    clauses = [f"{start} {circuit} circuits {_reach(level)}"]
    details = [f"They have {_against(level, gold)}{_tasks(level)}."]
    for name, words in ((RANKINGS, "random circuits"), ("gold", "the gold circuits")):
        tests = {
            measure: row
            for measure in (CPR, CMD)
            if (row := pair.test(method, map_name, protocol, name, measure))
        }
        if not tests:
            continue
        if name == RANKINGS:
            clauses.append(f"they {verdict(tests, words)}")
        found = [compared(row, measure) for measure, row in tests.items()]
        details.append(f"Compared with {words}, {' and '.join(found)}.")
    lead = [f"{'; '.join(clauses)}.", *_exaggeration(level)]
    if protocol is None:
        lead.append("No task was left out of training, so none of them is new.")
    return Answer(" ".join(lead), " ".join(details))


def gold_answer(
    pair: Pair, *, target: str, method: str, tasks: Sequence[str]
) -> Answer:
    """Return how faithful the circuits are that were found in a model itself.

    Args:
        pair: the statistics of the model, of no source.
        target: the model.
        method: the attribution method.
        tasks: of the study.
    """
    start = f"By {method}, the circuits of {target}"
    level = pair.level(method, "gold", name="")
    if level.get("cpr") is None:
        return Answer(f"{start} could not be measured.")
    random = pair.level(method, RANKINGS, name="")
    parts, details = [f"{start} have {_measured(level)}{_tasks(level)}."], ""
    if random.get("cpr") is not None:
        parts.append(_above_random(pair, method, tasks))
        details = f"Random circuits have {_measured(random)}."
    found = {task: pair.level(method, "gold", task, name="") for task in tasks}
    high = {
        task: row["max_faithfulness"] for task, row in found.items() if exaggerates(row)
    }
    if high:
        names = [f"{task} (up to {number(value)})" for task, value in high.items()]
        parts.append(
            f"They exaggerate, with faithfulness above 1, on {listed(names, 'tasks')}: "
            f"{NOT_BY_CPR}."
        )
    return Answer(" ".join(parts), details)


def _above_random(pair: Pair, method: str, tasks: Sequence[str]) -> str:
    """Say on how many tasks gold is better than random circuits by all measures."""
    unsure, better = [], 0
    for task in tasks:
        gold = pair.level(method, "gold", task, name="")
        if gold.get("cpr") is not None:
            is_better = _is_better(gold, pair.level(method, RANKINGS, task, name=""))
            better += is_better
            unsure += [] if is_better else [task]
    count = better + len(unsure)
    how = "better than random ones by all three measures, with intervals that lie apart"
    if not unsure:
        where = all_tasks(count) if count > 1 else "the one task"
        return f"On {where} they are {how}."
    where = listed(unsure, "tasks")
    if not better:
        if count == 1:
            return f"They were not shown to be {how}."
        return f"They were not shown on any task to be {how} ({where})."
    return f"On {better} of {count} tasks they are {how}; not shown on {where}."


def _is_better(gold: Mapping[str, Any], random: Mapping[str, Any]) -> bool:
    """Return whether all intervals of gold lie beyond those of random circuits."""
    ends = [
        (gold.get(f"{each.column}_low"), random.get(f"{each.column}_high"))
        if each.higher
        else (random.get(f"{each.column}_low"), gold.get(f"{each.column}_high"))
        for each in SHOWN
    ]
    return all(None not in pair and pair[0] > pair[1] for pair in ends)


def _measured(level: Mapping[str, Any]) -> str:
    texts = [f"{each.name} {with_interval(level, each.column)}" for each in SHOWN]
    return joined(texts)


def _tasks(level: Mapping[str, Any]) -> str:
    """Say over how many tasks a mean is, if over several."""
    count = level["n_tasks"]
    return f" (means over {count} tasks)" if count > 1 else ""


def _reach(level: Mapping[str, Any]) -> str:
    """Say which share of the gold circuit's CPR a transferred one reaches."""
    share = level.get("recovery")
    if share is None:
        return f"have a CPR of {with_interval(level, CPR.column)}"
    ends = level.get("recovery_low"), level.get("recovery_high")
    between = "" if None in ends else f" [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
    return f"reach {100 * share:.0f}{between} % of the gold circuits' CPR"


def _against(level: Mapping[str, Any], gold: Mapping[str, Any]) -> str:
    """Return all measures of a transferred circuit, against those of the gold one."""
    if gold.get("cpr") is None:
        return _measured(level)
    return joined(
        [
            f"{each.name} {with_interval(level, each.column)} against "
            f"{with_interval(gold, each.column)}"
            for each in SHOWN
        ]
    )


def _exaggeration(level: Mapping[str, Any]) -> Iterator[str]:
    if exaggerates(level):
        yield (
            "They exaggerate at sizes where their mean faithfulness exceeds 1 (up to "
            f"{number(level['max_faithfulness'])}): {NOT_BY_CPR}."
        )


def transfer_table(pair: Pair, *, maps: Maps) -> Table:
    """Return the measures of one pair's circuits by method, means over tasks.

    Args:
        pair: its statistics.
        maps: by method; circuits of the main one are shown.
    """
    others = (*SEEN, *pair.protocols.values(), "gold")
    lines = []
    for method in maps:
        for circuit in (pair.random(method), *others):
            level = pair.level(method, circuit, name=maps[method][0])
            if level:
                names = {"method": method, "circuit": circuit}
                lines.append(names | measure_cells(level, NAMES))
    frame = pl.DataFrame(lines, schema=_schema("method", "circuit"))
    note = f"Means over the tasks that have a circuit. {_note(frame)}"
    terms = explain(
        [*MEASURE_EXPLANATIONS, *frame["circuit"].unique(maintain_order=True)]
    )
    return Table(frame, labels=2, note=note, explanations=terms)


def gold_by_task(pair: Pair, *, tasks: Sequence[str], methods: Sequence[str]) -> Table:
    """Return the measures of a model's own circuits and of random ones, by task."""
    lines = []
    for task in tasks:
        rows = [(f"gold, {method}", method, "gold") for method in methods]
        rows.append((RANKINGS, methods[0], RANKINGS))
        for name, method, circuit in rows:
            level = pair.level(method, circuit, task, name="")
            lines.append({"task": task, "circuit": name} | measure_cells(level, NAMES))
    frame = pl.DataFrame(lines, schema=_schema("task", "circuit"))
    terms = explain([*MEASURE_EXPLANATIONS, "gold", RANKINGS])
    return Table(frame, labels=2, note=_note(frame), explanations=terms)


def _note(frame: pl.DataFrame) -> str:
    """Return what the signs of a table mean."""
    marks = [name for name in frame.columns if name.endswith(EXAGGERATES)]
    marked = frame.select(pl.any_horizontal(marks).any()).item()
    return f"{INTERVALS} {EXAGGERATION_NOTE}" if marked else INTERVALS


def _schema(*labels: str) -> dict[str, Any]:
    return dict.fromkeys(labels, pl.String) | measure_schema(NAMES)


def transfers_by_task(pair: Pair, *, tasks: Sequence[str], maps: Maps) -> Table:
    """Return the measures of one pair by task: random, transferred and gold circuits.

    A block for each method and measure.
    """
    circuits = (RANKINGS, *pair.protocols.values(), "gold")
    lines = []
    for method, measure, task in product(maps, SHOWN, tasks):
        line = {"method": method, "measure": measure.name, "task": task}
        for circuit in circuits:
            level = pair.level(method, circuit, task, name=maps[method][0])
            line |= level_cell(circuit, level, measure)
        lines.append(line)
    schema = dict.fromkeys(("method", "measure", "task"), pl.String)
    for circuit in circuits:
        schema |= cell_schema(circuit)
    frame = pl.DataFrame(lines, schema=schema)
    terms = explain([*MEASURE_EXPLANATIONS, *circuits])
    return Table(frame, labels=3, blocks=2, note=_note(frame), explanations=terms)
