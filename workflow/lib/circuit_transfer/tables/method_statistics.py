"""Every method of nodes and edges in numbers: levels, and tested differences.

Levels of one task are means over the seeds of a learned method, with Student's interval
over them; those over tasks have the interval of the cluster bootstrap, over tasks and
seeds within. Differences are paired by task, and by seed where both have seeds.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from circuit_transfer.statistics import (
    cluster_draws,
    compare,
    percentile_interval,
    t_interval,
)
from circuit_transfer.tables.differences import (
    MEAN,
    TESTS,
    Cells,
    adjust,
    paired_cells,
    tested,
)
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.method_measures import LEARNED

LEVEL, SEED, DIFFERENCE, RATIO = "level", "seed", "difference", "ratio"
COLUMNS = {
    "row": (
        pl.String,
        "level: a method's number, mean over seeds; seed: that of one seed; "
        "difference: a method's number minus another's; ratio: as a multiple of it",
    ),
    "task": (
        pl.String,
        "the task; mean: over the tasks (of ratios, the geometric one)",
    ),
    "method": (pl.String, "what found the circuits"),
    "circuit": (
        pl.String,
        "learned: one learned for its size; signed, absolute: the edges with the "
        "highest scores, or highest absolute scores; lifted: scores of nodes, every "
        "edge with the lower one of the two nodes that it connects",
    ),
    "against": (pl.String, "the method that it is compared with"),
    "seed": (pl.Int64, "the seed of a row of one"),
    "size": (pl.Float64, "share of all edges; null where a number is of all sizes"),
    "measure": (
        pl.String,
        "faithfulness, distance (of it from 1, above or below), kl (nats), accuracy; "
        "complement_accuracy, complement_faithfulness: of the edges that the circuit "
        "leaves out; share of all edges, n_edges, n_effective (on a path from input to "
        "logits); jaccard_resampled: mean overlap of the circuit of resampled examples "
        "with that of all; jaccard: the same, of learned ones of two seeds; cpr, cmd, "
        "right_above_wrong_area: over all sizes; seconds, forwards, "
        "forward_backwards, passes (both): of finding the circuits of one task",
    ),
    "value": (pl.Float64, "the number"),
    "low": (pl.Float64, "lower end of its 95 % interval: of a task over seeds"),
    "high": (pl.Float64, "upper end of it; of means over tasks and seeds within"),
    "p_tasks": (pl.Float64, "two-sided, sign flips over the tasks' means"),
    "p_tasks_holm": (
        pl.Float64,
        "adjusted by Holm, for all methods and sizes of a comparison and measure",
    ),
    "p_permutation": (pl.Float64, "two-sided, sign flips over tasks x seeds"),
    "p_permutation_holm": (pl.Float64, "adjusted likewise"),
    "p_wilcoxon": (pl.Float64, "Wilcoxon's signed ranks over tasks x seeds"),
    "p_wilcoxon_holm": (pl.Float64, "adjusted likewise"),
    "least_p_tasks": (pl.Float64, "the smallest p_tasks that so many tasks can give"),
    "n_seeds": (pl.Int64, "how many seeds, of a task the most; 1 without seeds"),
    "n_tasks": (pl.Int64, "how many tasks"),
}
SCHEMA = {name: dtype for name, (dtype, _) in COLUMNS.items()}
DOCUMENTATION = {name: meaning for name, (_, meaning) in COLUMNS.items()}
# Circuits whose shares of the edges differ by a larger factor are not compared.
LARGER = 1.1
# What learned methods are compared with, and what HAP shall be faster than.
BASELINE, PRUNING, HAP = "eap-ig-inputs", "edge-pruning", "hap"
COMPARED = ("faithfulness", "distance", "kl", "accuracy")
COMPARED += ("cpr", "cmd", "right_above_wrong_area")
# Compared as multiples, since they differ by orders of magnitude.
MULTIPLES = ("kl", "seconds", "passes")


class Circuit(NamedTuple):
    """What a number belongs to, but for task and seed."""

    method: str
    circuit: str
    size: float | None
    measure: str


def method_statistics(
    measures: pl.DataFrame, learned: Collection[str], *, seed: int = 0
) -> pl.DataFrame:
    """Return the levels of every method and what they are compared with, see `COLUMNS`.

    Learned methods are compared with `eap-ig-inputs`, ranked by absolute scores, at
    equal size, and `hap` with `edge-pruning`.

    Args:
        measures: see `method_measures`; a number for each method, task and seed.
        learned: the methods that learn circuits.
        seed: of the resamples and random signs.
    """
    cells = _cells(measures)
    rows = []
    for circuit, of_task in cells.items():
        rows += [*_levels(circuit, of_task, seed), *_seeds(circuit, of_task)]
    for ours, against in _comparisons(learned):
        rows += _differences(cells, ours, against, seed)
    return pl.DataFrame(rows, schema=SCHEMA).fill_nan(None)


def _cells(measures: pl.DataFrame) -> dict[Circuit, Cells]:
    cells: dict[Circuit, Cells] = {}
    order = (*Circuit._fields, "task", "seed")
    for row in measures.sort(order).iter_rows(named=True):
        key = Circuit(*(row[name] for name in Circuit._fields))
        cells.setdefault(key, {}).setdefault(row["task"], {})[row["seed"]] = row[
            "value"
        ]
    return cells


def _levels(circuit: Circuit, cells: Cells, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every task, and one for the mean of several."""
    of_task = {task: np.array([*seeds.values()]) for task, seeds in cells.items()}
    labels = {"row": LEVEL, **circuit._asdict()}
    for task, values in of_task.items():
        yield labels | {"task": task} | mean_with_interval([values], seed)
    if len(of_task) > 1:
        yield labels | {"task": MEAN} | mean_with_interval([*of_task.values()], seed)


def _seeds(circuit: Circuit, cells: Cells) -> Iterator[dict[str, Any]]:
    """Yield a row for every task and seed, and for the mean over tasks of a seed."""
    labels = {"row": SEED, **circuit._asdict(), "n_seeds": 1}
    for task, seeds in cells.items():
        for seed, value in seeds.items():
            if seed is not None:
                yield labels | {
                    "task": task,
                    "seed": seed,
                    "value": value,
                    "n_tasks": 1,
                }
    common = set.intersection(*map(set, cells.values())) - {None}
    for seed in sorted(common) if len(cells) > 1 else ():
        value = float(np.mean([seeds[seed] for seeds in cells.values()]))
        found = {"task": MEAN, "seed": seed, "value": value, "n_tasks": len(cells)}
        yield labels | found


def mean_with_interval(cells: Sequence[np.ndarray], seed: int) -> dict[str, Any]:
    """Return the mean over tasks and seeds, with its interval."""
    if len(cells) == 1:
        low, high = t_interval(cells[0])
    else:
        low, high = map(float, percentile_interval(cluster_draws(cells, seed=seed)))
    value = float(np.mean([of_task.mean() for of_task in cells]))
    counts = {"n_seeds": max(map(len, cells)), "n_tasks": len(cells)}
    return {"value": value, "low": low, "high": high, **counts}


def _comparisons(learned: Collection[str]) -> Iterator[tuple[list, tuple[str, str]]]:
    """Yield circuits that are tested together, and what they are compared with."""
    yield [(each, LEARNED) for each in learned], (BASELINE, ABSOLUTE)
    if HAP in learned:
        yield [(HAP, LEARNED)], (PRUNING, LEARNED)


def _differences(
    cells: Mapping[Circuit, Cells],
    ours: Collection[tuple[str, str]],
    against: tuple[str, str],
    seed: int,
) -> Iterator[dict[str, Any]]:
    together: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for circuit in cells:
        other = circuit._replace(method=against[0], circuit=against[1])
        if circuit[:2] not in ours or other not in cells:
            continue
        if not _equal_sizes(cells, circuit, other):
            continue
        pair = cells[circuit], cells[other]
        for kind, names in ((DIFFERENCE, COMPARED), (RATIO, MULTIPLES)):
            if circuit.measure in names:
                rows = _compared(*pair, seed, multiple=kind == RATIO)
                labels = {"row": kind, "against": against[0], **circuit._asdict()}
                of_kind = together.setdefault((kind, circuit.measure), [])
                of_kind += [labels | row for row in rows]
    for rows in together.values():
        means = [row for row in rows if "p_tasks" in row]
        for test in TESTS:
            adjust(means, test)
        yield from rows


def _equal_sizes(cells: Mapping[Circuit, Cells], *circuits: Circuit) -> bool:
    """Return whether two circuits are as large; those of DiscoGP have other sizes."""
    if circuits[0].size is None:
        return True
    counts = [cells.get(each._replace(measure="share"), {}) for each in circuits]
    means = [
        np.mean([count for seeds in found.values() for count in seeds.values()])
        for found in counts
        if found
    ]
    return len(means) < len(circuits) or max(means) <= LARGER * min(means)


def _compared(
    ours: Cells, theirs: Cells, seed: int, *, multiple: bool
) -> Iterator[dict[str, Any]]:
    """Yield the difference on every task, and the tested one over several."""
    if multiple:
        ours, theirs = _logarithms(ours), _logarithms(theirs)
    common = sorted(ours.keys() & theirs.keys())
    paired = paired_cells(ours, theirs, mean=False)
    rows = [
        {"task": task} | mean_with_interval([cells], seed)
        for task, cells in zip(common, paired, strict=True)
    ]
    if len(paired) > 1:
        tests = tested(compare(paired, seed=seed))
        names = [name for name in tests if name in SCHEMA]
        rows.append(
            {"task": MEAN}
            | {name: tests[name] for name in names}
            | mean_with_interval(paired, seed)
        )
    for row in rows:
        if multiple:
            row |= {name: 10 ** row[name] for name in ("value", "low", "high")}
        yield row


def _logarithms(cells: Cells) -> Cells:
    """Return the decadic logarithms of what is above 0; tasks with 0 are left out."""
    known = {task: each for task, each in cells.items() if min(each.values()) > 0}
    return {
        task: {seed: float(np.log10(value)) for seed, value in seeds.items()}
        for task, seeds in known.items()
    }
