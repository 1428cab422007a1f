"""Whether distilling a circuit helps: the method against its baselines and controls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from circuit_transfer.summary.differences import SEEDS, is_shown
from circuit_transfer.summary.wording import (
    Answer,
    bracketed,
    joined,
    number,
    p_value,
)
from circuit_transfer.tables.distillation import DistillationLevels
from circuit_transfer.tables.distillation_statistics import (
    AGAINST,
    METHOD,
    METHOD_AGAINST,
    OTHERS,
    STEPS,
    STUDENT,
    TEACHER,
)
from circuit_transfer.tables.transfers import LEVEL

QUESTION = "Does distilling the circuit help?"
# The differences of the page's table.
SHOWN = ("accuracy", "circuit_accuracy", STEPS)
# The measures that the terminal has room for.
IN_TERMINAL = ("accuracy", "circuit_accuracy", STEPS, OTHERS, "cka")
# A smaller difference of accuracies is not called better.
LEAST = 0.03
# What shows whether the circuit of a student is nearer to the teacher's.
NEARNESS = {
    "cka": "CKA of the matched heads",
    "node_correlation": "correlation of their scores",
    "edge_correlation": "correlation of the scores of the edges between them",
}
Rows = Mapping[str, Mapping[str, Any]]


def distillation_answer(
    levels: DistillationLevels,
    *,
    teacher: str,
    student: str,
    variants: Sequence[str],
    accuracy: float,
) -> list[Answer]:
    """Return whether the matching helps, how good students are, and what it costs.

    Args:
        levels: the statistics of the students.
        teacher: the model whose circuit is distilled.
        student: the model that is trained.
        variants: how it is trained.
        accuracy: until which steps are counted.
    """
    start = f"From {teacher} to {student},"
    found = {name: levels.level(name, "accuracy") for name in variants}
    if not any(found.values()):
        return [Answer(f"{start} no student was trained: there are no usable pairs.")]
    return [
        _verdict(levels, start, accuracy),
        *_controls(levels),
        _accuracies(levels, found, student),
        *_circuit(levels, variants),
        *_interference(levels, variants),
    ]


def _verdict(levels: DistillationLevels, start: str, accuracy: float) -> Answer:
    """Return whether the method is better than both baselines, in either measure."""
    right, steps = (_tested(levels, name, AGAINST) for name in ("accuracy", STEPS))
    if len(right) < len(AGAINST):
        return Answer(
            f"{start} whether matching heads helps is not tested: this takes the "
            f"variants {joined([METHOD, *AGAINST])}."
        )
    better = {
        f"by {LEAST:g} or more in accuracy": _beyond(right, 1, LEAST),
        f"in fewer steps to accuracy {accuracy:g}": _beyond(steps, -1),
    }
    ways = [way for way, names in better.items() if len(names) == len(AGAINST)]
    baselines = joined(AGAINST)
    if ways:
        lead = f"matching heads helps: {METHOD} is better than {baselines} "
        lead += joined(ways)
        limits = []
    else:
        lead = f"{METHOD} was not shown to be better than both {baselines}, "
        lead += " or ".join(better)
        limits = [*_only(better), *(_ceiling(levels) or _bounds(right))]
    lead = "; ".join([lead, *_worse(right), *limits])
    return Answer(f"{start} {lead}.", _details(right, steps))


def _controls(levels: DistillationLevels) -> Iterator[Answer]:
    """Yield how the method compares with its controls and with plain fine-tuning."""
    right, steps = (
        _tested(levels, name, METHOD_AGAINST) for name in ("accuracy", STEPS)
    )
    if not right:
        return
    sides = {"higher than that of": 1, "lower than that of": -1}
    names = {words: _beyond(right, side) for words, side in sides.items()}
    shown = [name for found in names.values() for name in found]
    names["not shown to differ from that of"] = [n for n in right if n not in shown]
    clauses = [f"{words} {joined(found)}" for words, found in names.items() if found]
    yield Answer(
        f"The accuracy of {METHOD} is {'; '.join(clauses)}.", _details(right, steps)
    )


def _details(right: Rows, steps: Rows) -> str:
    """Return the differences of the method's accuracy and steps, with their tests."""
    details = f"Accuracy of {METHOD} minus that of {_differences(right)}"
    if steps:
        details += f"; its steps minus those of {_differences(steps, decimals=0)}"
        details += _censored(steps)
    return f"{details}."


def _tested(levels: DistillationLevels, measure: str, against: Iterable[str]) -> Rows:
    rows = {name: levels.difference(METHOD, name, measure) for name in against}
    return {name: row for name, row in rows.items() if row}


def _beyond(rows: Rows, side: int, least: float = 0.0) -> list[str]:
    """Return what the method differs from, on a side and by at least so much."""
    return [
        name
        for name, row in rows.items()
        # Shares of as many pairs may be equal but for rounding.
        if is_shown(row, SEEDS) and round(side * row["value"], 9) >= least
    ]


def _only(better: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for way, names in better.items():
        if names:
            yield f"it is better than {joined(names)} alone {way}"


def _worse(rows: Rows) -> Iterator[str]:
    if names := _beyond(rows, -1):
        yield f"its accuracy is lower than that of {joined(names)}"


def _ceiling(levels: DistillationLevels) -> list[str]:
    """Say with which baseline there is too little left to gain, if with any."""
    for name in AGAINST:
        value = levels.level(name, "accuracy")["value"]
        if value + LEAST > 1:
            return [
                f"{name} has accuracy {number(value)}, so that a gain of {LEAST:g} is "
                "impossible"
            ]
    return []


def _bounds(rows: Rows) -> Iterator[str]:
    """Yield what the tests cannot show, and what the intervals leave out."""
    least = max(row["least_p"] for row in rows.values())
    if least >= LEVEL:
        yield (
            f"with so few seeds and tasks nothing can be shown ({p_value(least)} at "
            "best)"
        )
    names = [name for name, row in rows.items() if _is_below(row["high"])]
    if names:
        yield (
            f"an advantage of {LEAST:g} over {joined(names)} is outside the 95 % "
            f"interval{'s' if len(names) > 1 else ''}"
        )


def _is_below(high: float | None) -> bool:
    return high is not None and high < LEAST


def _differences(rows: Rows, decimals: int = 2) -> str:
    texts = []
    for name, row in rows.items():
        ends = [row["value"], row["low"], row["high"]]
        by = bracketed(*ends, decimals=decimals)
        texts.append(f"{name} {by} ({p_value(row[SEEDS])})")
    return joined(texts)


def _censored(rows: Rows) -> str:
    """Say in how many trainings the accuracy is never reached."""
    most = max(row["n_censored"] for row in rows.values())
    never = f", of which up to {most} are with a student that never reaches it"
    return f"{never} and counts with all of its steps" if most else ""


def _accuracies(levels: DistillationLevels, found: Rows, student: str) -> Answer:
    """Return which variant answers best, beside both models as given."""
    values = {name: row["value"] for name, row in found.items() if row}
    best = max(values, key=values.__getitem__)
    lead = f"Trained by {best}, students answer best ({number(values[best])})"
    if len({*map(number, values.values())}) == 1 < len(values):
        lead = f"By all variants, students answer equally well ({number(values[best])})"
    given = [
        f"{name} {number(levels.level(key, 'accuracy').get('value'))}"
        for key, name in ((TEACHER, "the teacher"), (STUDENT, f"{student} before"))
    ]
    every = [
        f"{name} {bracketed(row['value'], row['low'], row['high'])}"
        for name, row in found.items()
        if row
    ]
    return Answer(f"{lead}; {joined(given)}.", f"Accuracy: {', '.join(every)}.")


def _circuit(levels: DistillationLevels, variants: Sequence[str]) -> Iterator[Answer]:
    """Yield what the critical heads alone answer, and whether they are nearer."""
    shown = [STUDENT, *(each for each in (METHOD, *AGAINST) if each in variants)]
    alone = _listed(levels, "circuit_accuracy", shown)
    near = [
        f"{name}: {_listed(levels, measure, shown)}"
        for measure, name in NEARNESS.items()
        if _listed(levels, measure, shown)
    ]
    if alone or near:
        of_circuit = [f"accuracy of the critical heads alone: {alone}"] if alone else []
        parts = of_circuit + near + [*_moved(levels)]
        lead, *details = (f"{each[0].upper()}{each[1:]}." for each in parts)
        yield Answer(lead, " ".join(details))


def _moved(levels: DistillationLevels) -> Iterator[str]:
    """Yield how much nearer to the teacher's the circuit is than before, tested."""
    rows = {
        name: levels.difference(METHOD, STUDENT, measure)
        for measure, name in NEARNESS.items()
    }
    if known := {name: row for name, row in rows.items() if row}:
        yield f"trained by {METHOD} minus before: {_differences(known)}"


def _listed(levels: DistillationLevels, measure: str, names: Sequence[str]) -> str:
    rows = {name: levels.level(name, measure) for name in names}
    return joined([f"{n} {number(r['value'])}" for n, r in rows.items() if r] or [""])


def _interference(
    levels: DistillationLevels, variants: Sequence[str]
) -> Iterator[Answer]:
    """Yield what trainings do to the tasks that students are not trained on."""
    before = levels.level(STUDENT, OTHERS)
    rows = {name: levels.level(name, OTHERS) for name in variants}
    known = {name: row["value"] for name, row in rows.items() if row}
    if not before or not known:
        return
    worst, best = (f(known, key=known.__getitem__) for f in (min, max))
    every = [f"{name} {number(value)}" for name, value in known.items()]
    after = f"from {number(known[worst])} ({worst}) to {number(known[best])} ({best})"
    if len({*map(number, known.values())}) == 1:
        after = f"{number(known[best])} by every variant"
    yield Answer(
        f"On the other tasks the student has accuracy {number(before['value'])} "
        f"before, and after training {after}.",
        f"Other tasks: {', '.join(every)}.",
    )
