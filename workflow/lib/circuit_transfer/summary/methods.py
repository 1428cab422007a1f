"""Which method when: what is best at which size, what it takes, and what was shown."""

from collections.abc import Iterator, Sequence
from typing import Any

from circuit_transfer.summary.wording import (
    Answer,
    bracketed,
    counted,
    joined,
    number,
    p_value,
)
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import ABSOLUTE, SIGNED
from circuit_transfer.tables.method_measures import LEARNED, STABILITY
from circuit_transfer.tables.method_statistics import (
    BASELINE,
    DIFFERENCE,
    HAP,
    PRUNING,
    RATIO,
)
from circuit_transfer.tables.methods import Entry, MethodLevels, entries
from circuit_transfer.tables.transfers import LEVEL

QUESTION = "Which method when?"
# By what methods are called better than the baseline: of both, less is better.
TESTED = ("distance", "kl")


def methods_answer(
    levels: MethodLevels,
    *,
    target: str,
    methods: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
) -> list[Answer]:
    """Return which method is best at every size, and what the tests show.

    Args:
        levels: the statistics of the model.
        target: the model.
        methods: methods that score nodes, in order.
        edge_methods: methods that score edges.
        learned_methods: methods that learn circuits.
        sizes: those that circuits are learned for.
    """
    shown = entries(methods, edge_methods, learned_methods)
    answers = [_of_size(levels, shown, size, target) for size in sizes]
    known = [answer for answer in answers if answer]
    if not known:
        return [Answer(f"No circuit of {target} was measured at a learned size.")]
    known += _against_baseline(levels, learned_methods, sizes)
    return [*known, *_of_hap(levels, sizes)]


def _of_size(
    levels: MethodLevels, shown: Sequence[Entry], size: float, target: str
) -> Answer | None:
    """Say which circuits of a size diverge least, and which are closest to f = 1."""
    kl = {
        each: levels.level(each, "kl", size)["value"]
        for each in shown
        if levels.has_size(each, size)
    }
    if not kl:
        return None
    faithful = {each: levels.level(each, "faithfulness", size) for each in kl}
    known = {each: row["value"] for each, row in faithful.items() if row}
    lowest = min(kl, key=kl.__getitem__)
    lead = (
        f"With {100 * size:g} % of the edges, the circuits of {target} that diverge "
        f"least are those of {_name(lowest)} (KL {_kl(kl[lowest])}, "
        f"{_takes(levels, lowest)})"
    )
    if known:
        closest = min(known, key=lambda each: abs(1 - known[each]))
        same = closest == lowest
        lead += (
            f", whose faithfulness is also closest to 1 ({number(known[closest])})"
            if same
            else f"; closest to faithfulness 1 is {_name(closest)} "
            f"({number(known[closest])}, {_takes(levels, closest)})"
        )
    tasks = len([task for task in levels.tasks if task != MEAN])
    over = f" Means over {counted(tasks, 'task')}." if tasks > 1 else ""
    every = [f"{_name(each)} {_kl(value)}" for each, value in kl.items()]
    details = f"KL: {', '.join(every)}.{over}{_rest(levels, lowest, size)}"
    return Answer(f"{lead}.", details)


def _rest(levels: MethodLevels, entry: Entry, size: float) -> str:
    """Say how complete and how stable circuits are, where it was measured."""
    complement = levels.level(entry, "complement_accuracy", size).get("value")
    overlap = levels.level(entry, STABILITY, size).get("value")
    parts = []
    if complement is not None:
        parts.append(f"what they leave out has accuracy {number(complement)}")
    if overlap is not None:
        over = "seeds" if entry.circuit == LEARNED else "examples"
        parts.append(f"circuits of different {over} overlap by {number(overlap)}")
    return f" Of {_name(entry)}: {joined(parts)}." if parts else ""


def _name(entry: Entry) -> str:
    if entry.circuit in (ABSOLUTE, SIGNED):
        return f"{entry.method}, {entry.circuit}"
    return entry.method


def _takes(levels: MethodLevels, entry: Entry) -> str:
    seconds = levels.level(entry, "seconds").get("value")
    return "cost unknown" if seconds is None else f"{seconds:.3g} s for a task"


def _kl(value: float) -> str:
    return f"{value:.2g}"


def _against_baseline(
    levels: MethodLevels, learned: Sequence[str], sizes: Sequence[float]
) -> Iterator[Answer]:
    """Yield at which sizes which methods are better, or worse, than the baseline."""
    verdicts: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    details = []
    for method in learned:
        rows = _tested(levels, method)
        for size in sizes:
            found = [row for row in rows if row["size"] == size]
            if found:
                at = f"{method} at {100 * size:g} %"
                verdicts[_verdict(found)].append(at)
                details.append(f"{at} {joined([_difference(row) for row in found])}")
    if not details:
        return
    against = f"{BASELINE} (absolute scores)"
    texts = [
        f"{word} than {against}: {', '.join(found)}"
        for word, found in verdicts.items()
        if found and word != "unclear"
    ]
    lead = "; ".join(texts) if texts else f"no learned method better than {against}"
    yield Answer(
        f"By both KL and the distance of the faithfulness from 1, tests over tasks x "
        f"seeds show {lead}.",
        f"Minus {BASELINE}: {'; '.join(details)}.",
    )


def _tested(levels: MethodLevels, method: str) -> list[dict[str, Any]]:
    return [
        row
        for row in levels.tests(BASELINE)
        if row["method"] == method
        and row["row"] == DIFFERENCE
        and row["task"] == levels.over_tasks
        and row["measure"] in TESTED
    ]


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Return what all measures show: `better`, `worse`, or else `unclear`."""
    sides = set()
    for row in rows:
        p = row["p_permutation_holm"]
        shown = p is not None and p < LEVEL
        sides.add(("better" if row["value"] < 0 else "worse") if shown else "unclear")
    return sides.pop() if len(sides) == 1 else "unclear"


def _difference(row: dict[str, Any]) -> str:
    by = bracketed(row["value"], row["low"], row["high"])
    test = row["p_permutation_holm"]
    p = "" if test is None else f" ({p_value(test)})"
    return f"{row['measure']} {by}{p}"


def _of_hap(levels: MethodLevels, sizes: Sequence[float]) -> Iterator[Answer]:
    """Yield what share of the time HAP takes, and what that costs in quality."""
    rows = {
        (row["row"], row["measure"], row["size"]): row
        for row in levels.tests(PRUNING)
        if row["method"] == HAP and row["task"] == levels.over_tasks
    }
    seconds = rows.get((RATIO, "seconds", None))
    if seconds is None:
        return
    share = bracketed(*(seconds[name] for name in ("value", "low", "high")))
    texts = []
    for size in sizes:
        found = rows.get((DIFFERENCE, "faithfulness", size))
        multiple = rows.get((RATIO, "kl", size))
        if found and multiple:
            by = bracketed(found["value"], found["low"], found["high"])
            times = bracketed(*(multiple[name] for name in ("value", "low", "high")))
            at = f"{100 * size:g} %"
            texts.append(f"at {at} faithfulness {by}, KL {times} times as large")
    yield Answer(
        f"{HAP} takes {share} of the seconds of {PRUNING}, its filter included.",
        f"{HAP} minus {PRUNING}: {'; '.join(texts)}." if texts else "",
    )
