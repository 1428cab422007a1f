"""Whether circuits are faithful: transferred ones, or those of the model itself."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import aligned_circuit, compared, difference
from circuit_transfer.summary.wording import joined, listed, number, with_interval
from circuit_transfer.tables.curves import RANKINGS, SEEN, UNTRAINED
from circuit_transfer.tables.explanations import explain
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import HALF_WIDTH, Table, half_width

TRANSFERRED = "Is the transfer faithful?"
FOUND = "Are the circuits faithful?"
# The measures by column, with the names that sentences use.
MEASURES = {"cpr": "CPR", "cmd": "CMD", "right_above_wrong_area": "accuracy area"}
HEADINGS = {"cpr": "CPR", "cmd": "CMD", "right_above_wrong_area": "accuracy_area"}
# Above this faithfulness a circuit is said to exaggerate.
EXAGGERATED = 1.05
NOT_BY_CPR = "a high CPR does not show a good circuit there, CMD has to be read"
INTERVALS = "± half of the 95 % interval over test examples, for the fits as they are."
NOTE = (
    "CPR: area under the curve of faithfulness over circuit size, higher is better; "
    "CMD: area between this curve and 1, lower is better; accuracy area: the same of "
    "the share of examples in which the right answer has a higher logit than the wrong "
    "one, over log size, higher is better. Where faithfulness exceeds 1, a high CPR "
    f"does not show a good circuit. {INTERVALS}"
)


def transfer_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> str:
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
        return f"{start} no transferred circuit could be measured."
    gold = pair.level(method, "gold", name=map_name)
    parts = [f"{start} {circuit} circuits {_reach(level, gold)}."]
    if protocol is None:
        parts.append("No task was left out of training, so none of them is new.")
    else:
        against = [(RANKINGS, "random circuits"), ("gold", "the gold circuits")]
        for name, words in against:
            if row := difference(pair, method, map_name, protocol, name):
                parts.append(f"Their CPR {compared(row, words)}.")
    parts += _exaggeration(level)
    return " ".join(parts)


def gold_answer(pair: Pair, *, target: str, method: str, tasks: Sequence[str]) -> str:
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
        return f"{start} could not be measured."
    random = pair.level(method, RANKINGS, name="")
    parts = [f"{start} have {_measured(level)}{_tasks(level)}."]
    if random.get("cpr") is not None:
        parts.append(f"Random circuits have {_measured(random)}.")
        parts.append(_above_random(pair, method, tasks))
    found = {task: pair.level(method, "gold", task, name="") for task in tasks}
    high = {
        task: row["max_faithfulness"]
        for task, row in found.items()
        if (row.get("max_faithfulness") or 0) > EXAGGERATED
    }
    if high:
        names = [f"{task} (up to {number(value)})" for task, value in high.items()]
        parts.append(
            f"They exaggerate, with faithfulness above 1, on {listed(names, 'tasks')}: "
            f"{NOT_BY_CPR}."
        )
    return " ".join(parts)


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
    how = "better than random ones by all three measures, their intervals lying apart"
    if not unsure:
        where = f"all {count} tasks" if count > 1 else "the one task"
        return f"On {where} they are {how}."
    where = listed(unsure, "tasks")
    if not better:
        return f"That they are {how}, was not shown on any task ({where})."
    return f"On {better} of {count} tasks they are {how}; not shown on {where}."


def _is_better(gold: Mapping[str, Any], random: Mapping[str, Any]) -> bool:
    """Return whether all intervals of gold lie beyond those of random circuits."""
    edges = [
        (gold.get(f"{name}_low"), random.get(f"{name}_high"))
        for name in ("cpr", "right_above_wrong_area")
    ]
    edges.append((random.get("cmd_low"), gold.get("cmd_high")))
    return all(None not in pair and pair[0] > pair[1] for pair in edges)


def _measured(level: Mapping[str, Any]) -> str:
    texts = [
        f"{words} {with_interval(level, name)}" for name, words in MEASURES.items()
    ]
    return joined(texts)


def _tasks(level: Mapping[str, Any]) -> str:
    """Say over how many tasks a mean is, if over several."""
    count = level["n_tasks"]
    return f" (means over {count} tasks)" if count > 1 else ""


def _reach(level: Mapping[str, Any], gold: Mapping[str, Any]) -> str:
    """Say what a transferred circuit reaches of the gold one, by every measure."""
    share = level.get("recovery")
    if share is None or gold.get("cpr") is None:
        return f"have {_measured(level)}{_tasks(level)}"
    ends = level.get("recovery_low"), level.get("recovery_high")
    between = "" if None in ends else f" [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
    measured = [
        f"{words} {with_interval(level, name)} against {with_interval(gold, name)}"
        for name, words in MEASURES.items()
    ]
    return (
        f"reach {100 * share:.0f}{between} % of the gold circuits' CPR: "
        f"{joined(measured)}{_tasks(level)}"
    )


def _exaggeration(level: Mapping[str, Any]) -> Iterator[str]:
    highest = level.get("max_faithfulness")
    if highest is not None and highest > EXAGGERATED:
        yield (
            "They exaggerate: their mean faithfulness reaches "
            f"{number(highest)}. {NOT_BY_CPR[0].upper()}{NOT_BY_CPR[1:]}."
        )


def transfer_table(pair: Pair, *, methods: Sequence[str], map_name: str) -> Table:
    """Return the measures of one pair's circuits by method, means over tasks."""
    untrained = UNTRAINED if pair.has(UNTRAINED) else RANKINGS
    rows = (untrained, *SEEN, *pair.protocols.values(), "gold")
    lines = []
    for method, circuit in product(methods, rows):
        level = pair.level(method, circuit, name=map_name)
        if level:
            lines.append({"method": method, "circuit": circuit} | _cells(level))
    frame = pl.DataFrame(lines, schema=_schema("method", "circuit"))
    note = f"Means over the tasks that have a circuit. {NOTE}"
    return Table(frame, labels=2, note=note, explanations=explain(rows))


def gold_by_task(pair: Pair, *, tasks: Sequence[str], methods: Sequence[str]) -> Table:
    """Return the measures of a model's own circuits and of random ones, by task."""
    lines = []
    for task in tasks:
        rows = [(method, method, "gold") for method in methods]
        rows.append((RANKINGS, methods[0], RANKINGS))
        for name, method, circuit in rows:
            level = pair.level(method, circuit, task, name="")
            lines.append({"task": task, "circuit": name} | _cells(level))
    frame = pl.DataFrame(lines, schema=_schema("task", "circuit"))
    return Table(frame, labels=2, note=NOTE)


def _cells(level: Mapping[str, Any]) -> dict[str, float | None]:
    cells = {}
    for name, heading in HEADINGS.items():
        cells |= {
            heading: level.get(name),
            heading + HALF_WIDTH: half_width(level, name),
        }
    return cells


def _schema(*labels: str) -> dict[str, Any]:
    numbers = [name + end for name in HEADINGS.values() for end in ("", HALF_WIDTH)]
    return dict.fromkeys(labels, pl.String) | dict.fromkeys(numbers, pl.Float64)


def transfers_by_task(
    pair: Pair, *, tasks: Sequence[str], methods: Sequence[str], map_name: str
) -> Table:
    """Return the CPR of one pair by task: random, transferred and gold circuits."""
    circuits = (RANKINGS, *pair.protocols.values(), "gold")
    lines = []
    for task, method in product(tasks, methods):
        line = {"task": task, "method": method}
        for circuit in circuits:
            level = pair.level(method, circuit, task, name=map_name)
            column = circuit.replace("-", " ")
            line |= {
                column: level.get("cpr"),
                column + HALF_WIDTH: half_width(level, "cpr"),
            }
        lines.append(line)
    frame = pl.DataFrame(lines, infer_schema_length=None)
    return Table(frame, labels=2, note=f"CPR. {INTERVALS}")
