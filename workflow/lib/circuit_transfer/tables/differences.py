"""How much better the aligned circuits are than others, over tasks and seeds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from circuit_transfer.statistics import Comparison, compare, holm
from circuit_transfer.tables.curves import RANKINGS, SEEN, ZERO_SHOT
from circuit_transfer.tables.edge_transfers import is_lifted, random_method
from circuit_transfer.tables.measures import SHOWN
from circuit_transfer.transfer.edge_controls import RANDOM_EFFECTIVE

MEAN = "mean"
PLACE = ("source", "target", "method", "ablation", "map")
# Comparisons with another map's circuits, not with a control's.
BY_MAP = ("map", "lifted")
TESTS = ("p_permutation", "p_wilcoxon", "p_tasks")
NO_CONTROLS = ("gold", RANKINGS, *SEEN, *ZERO_SHOT, "all", "transfer", "imported")

Key = tuple[str | None, ...]
# A measure by task and seed.
Cells = dict[str, dict[int | None, float]]


class Circuit(NamedTuple):
    """What a number belongs to, but for task and seed."""

    source: str | None
    target: str
    method: str
    ablation: str
    map: str | None
    circuit: str
    protocol: str | None


def differences(cpr: pl.DataFrame, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the aligned circuit minus every other, under both protocols, tested.

    Against every control (and random rankings), gold, the free map with the same
    training, and, maps of edges, against maps of nodes that are lifted to edges, by
    every measure that is shown. Holm's adjustment is over the comparisons
    of one kind by one measure: of one pair, method, protocol and (but for maps, which
    are compared with each other) map.
    """
    for measure in SHOWN:
        for row in _differences(cpr, measure.column, seed):
            yield row | {"measure": measure.column}


def _differences(
    cpr: pl.DataFrame, measure: str, seed: int
) -> Iterator[dict[str, Any]]:
    cells = circuit_cells(cpr, measure)
    together: dict[Key, list[dict[str, Any]]] = {}
    for ours in cells:
        if ours.circuit not in ZERO_SHOT:
            continue
        for comparison, other in _compared(ours, cells):
            mean = other.circuit in (RANKINGS, RANDOM_EFFECTIVE)
            paired = paired_cells(cells[ours], cells[other], mean=mean)
            if not paired:
                continue
            against = other.map if comparison in BY_MAP else other.circuit
            row = ours._asdict() | {"row": "difference", "task": MEAN}
            row |= {"comparison": comparison, "against": against}
            row |= tested(compare(paired, seed=seed))
            # Maps are compared with one map, and so are tested together.
            kind = ours._replace(map=None) if comparison == "map" else ours
            together.setdefault((*kind, comparison), []).append(row)
    for rows in together.values():
        for test in TESTS:
            adjust(rows, test)
        yield from rows


def circuit_cells(cpr: pl.DataFrame, measure: str) -> dict[Circuit, Cells]:
    """Return a measure of every circuit by task and seed.

    Args:
        cpr: the area of every circuit, with `circuit` and `protocol` (`named_rows`).
        measure: the column.
    """
    cells: dict[Circuit, Cells] = {}
    names = Circuit._fields
    # In a fixed order: sums depend on it in the last digit, and files must not.
    for row in cpr.sort(*names, "task", "seed", measure).iter_rows(named=True):
        of_task = cells.setdefault(Circuit(*(row[name] for name in names)), {})
        of_task.setdefault(row["task"], {})[row["seed"]] = row[measure]
    return cells


def adjust(rows: Sequence[dict[str, Any]], test: str) -> None:
    """Adjust the p values of a test by Holm, for all rows together."""
    adjusted = holm([row[test] for row in rows])
    for row, p_value in zip(rows, adjusted, strict=True):
        row[f"{test}_holm"] = float(p_value)


def _compared(
    ours: Circuit, circuits: Iterable[Circuit]
) -> Iterator[tuple[str, Circuit]]:
    """Yield what an aligned circuit is compared with, and as what kind."""
    for other in circuits:
        on = (other.target, other.ablation) == (ours.target, ours.ablation)
        if not on or other.source not in (None, ours.source):
            continue
        if other.circuit == RANKINGS:
            if other.method == random_method(ours.method):
                yield "control", other
        elif other.method != ours.method:
            continue
        elif other.circuit == "gold":
            yield "gold", other
        elif other.circuit == ours.circuit:
            if is_lifted(ours.map):
                continue
            if other.map == "free" != ours.map:
                yield "map", other
            if is_lifted(other.map):
                yield "lifted", other
        elif (
            other.circuit not in NO_CONTROLS
            and other.map in (None, ours.map)
            and other.protocol in (None, ours.protocol)
        ):
            yield "control", other


def paired_cells(ours: Cells, theirs: Cells, *, mean: bool) -> list[np.ndarray]:
    """Return the differences on every common task, a number per seed.

    What has no seed is compared with every seed of the other; random rankings and
    random circuits, whose seeds mean something else, with their mean.
    """
    paired = []
    for task in ours.keys() & theirs.keys():
        left, right = ours[task], theirs[task]
        if mean or not set(left) & set(right):
            if mean or None not in {*left, *right}:
                right = {None: np.mean(list(right.values()))}
            seeds = sorted({*left, *right} - {None}) or [None]
            left = {seed: left.get(seed, left.get(None)) for seed in seeds}
            right = {seed: right.get(seed, right.get(None)) for seed in seeds}
        common = [seed for seed in left if seed in right]
        paired.append((task, np.array([left[seed] - right[seed] for seed in common])))
    return [cells for _, cells in sorted(paired, key=lambda item: item[0])]


def tested(found: Comparison) -> dict[str, float]:
    """Return the columns of a tested difference."""
    return asdict(found) | {"least_p_tasks": 2.0 ** (1 - found.n_tasks)}
