"""How much better circuits of edges are than others, on every task and over tasks.

On one task the difference is resampled over distinct pairs of prompts, the same ones
for both circuits. Over tasks it is tested as differences of circuits of nodes are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from circuit_transfer.statistics import bootstrap_p, compare, percentile_interval
from circuit_transfer.tables.differences import (
    MEAN,
    TESTS,
    Cells,
    adjust,
    paired_cells,
    tested,
)
from circuit_transfer.tables.edge_curves import (
    ABSOLUTE,
    FOUND,
    LIFTED,
    NODES,
    RANDOM,
    RANDOM_EFFECTIVE,
    SIGNED,
    needed_draws,
)
from circuit_transfer.tables.measures import AREAS
from circuit_transfer.tables.resampling import Draws

# Compared as log10: a difference of -1 is a tenth of the share.
SHARES = ("edges_needed", "close_needed")
COMPARED = (*AREAS, *SHARES)
BY_RANKING, BY_METHOD = "ranking", "method"
OF_TASK = "p_examples"


class Circuit(NamedTuple):
    """What a number belongs to, but for task and seed."""

    target: str
    ablation: str
    method: str
    control: str
    ranking: str | None


# By circuit and task.
AllDraws = Mapping[tuple[Circuit, str], Draws]


def edge_differences(
    areas: pl.DataFrame, draws: AllDraws, *, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield every ranking of edges minus what it is compared with, tested.

    Compared with random rankings (`random`), random edges of the same effective size
    (`random-effective`), every method's scores of nodes lifted to edges (`lifted`),
    every method's circuits of nodes (`nodes`), the ranking by absolute scores
    (`ranking`) and later methods in the order of names (`method`); all at equal shares.
    A row for every task, and one for their mean. Holm's adjustment is over all rows of
    one circuit, comparison and measure: those of tasks, and those of means.

    Args:
        areas: of circuits of edges and of nodes, see `edge_areas`.
        draws: what resamples of the examples make of them.
        seed: of the tests over tasks.
    """
    for measure in COMPARED:
        cells = _cells(areas, measure)
        for ours in cells:
            together: dict[str, list[tuple[dict, dict]]] = {}
            for comparison, other in _compared(ours, [*cells]):
                rows = _rows(ours, other, cells, draws, measure, seed)
                labels = {"comparison": comparison, "against": _against(ours, other)}
                names = ours._asdict() | labels | {"measure": measure}
                together.setdefault(comparison, []).extend(
                    names | row | {"row": "difference"} for row in rows
                )
            for rows in together.values():
                _adjust_all(rows)
                yield from rows


def _cells(areas: pl.DataFrame, measure: str) -> dict[Circuit, Cells]:
    cells: dict[Circuit, Cells] = {}
    names = Circuit._fields
    known = areas.drop_nulls(["cpr", measure]).sort(*names, "task", "seed")
    for row in known.iter_rows(named=True):
        of_task = cells.setdefault(Circuit(*(row[name] for name in names)), {})
        value = np.log10(row[measure]) if measure in SHARES else row[measure]
        of_task.setdefault(row["task"], {})[row["seed"]] = value
    return cells


def _compared(
    ours: Circuit, circuits: Sequence[Circuit]
) -> Iterator[tuple[str, Circuit]]:
    """Yield what a ranking of edges is compared with, and as which comparison."""
    if ours.control != FOUND:
        return
    for other in circuits:
        if other[:2] != ours[:2]:
            continue
        same_method, same_ranking = (
            other.method == ours.method,
            other.ranking in (None, ours.ranking),
        )
        # Scores of nodes have one ranking, the signed one, as nodes or as their edges.
        if other.control in (RANDOM, NODES, LIFTED):
            yield other.control, other
        elif other.control == RANDOM_EFFECTIVE and same_method and same_ranking:
            yield RANDOM_EFFECTIVE, other
        elif other.control == FOUND and same_ranking and other.method > ours.method:
            yield BY_METHOD, other
        elif (
            other.control == FOUND
            and same_method
            and (ours.ranking, other.ranking) == (SIGNED, ABSOLUTE)
        ):
            yield BY_RANKING, other


def _against(ours: Circuit, other: Circuit) -> str:
    """Return the name of the other circuit within its comparison."""
    if other.control in (RANDOM, RANDOM_EFFECTIVE):
        return other.control
    is_ours = (other.control, other.method) == (FOUND, ours.method)
    return ABSOLUTE if is_ours else other.method


def _rows(
    ours: Circuit,
    other: Circuit,
    cells: Mapping[Circuit, Cells],
    draws: AllDraws,
    measure: str,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield the difference on every task that both have, then their mean."""
    paired = {}
    for task in sorted(cells[ours].keys() & cells[other].keys()):
        pair = ({task: cells[each][task]} for each in (ours, other))
        # Rankings of random edges belong to no seed of the other circuit.
        is_random = other.control in (RANDOM, RANDOM_EFFECTIVE)
        [paired[task]] = paired_cells(*pair, mean=is_random)
        row = {"task": task, "mean_difference": float(paired[task].mean())}
        row |= {"n_tasks": 1, "n_cells": len(paired[task]), OF_TASK: np.nan}
        both = [draws.get((each, task)) for each in (ours, other)]
        # The share of several random rankings is a mean, that of their mean is not.
        if None not in both and not (is_random and measure in SHARES):
            mine, theirs = (_drawn(each, measure) for each in both)
            low, high = percentile_interval(mine - theirs)
            row |= {"low": float(low), "high": float(high)}
            row[OF_TASK] = bootstrap_p(mine - theirs)
        yield row
    if paired:
        yield {"task": MEAN} | tested(compare([*paired.values()], seed=seed))


def _drawn(draws: Draws, measure: str) -> np.ndarray:
    if measure not in SHARES:
        return getattr(draws, measure)
    return np.log10(needed_draws(draws.curve, draws.proportions)[measure])


def _adjust_all(rows: Sequence[dict[str, Any]]) -> None:
    """Adjust the tests over tasks of the means, and those over examples of tasks."""
    for test in TESTS:
        adjust([row for row in rows if row["task"] == MEAN], test)
    known = [row for row in rows if np.isfinite(row.get(OF_TASK, np.nan))]
    adjust(known, OF_TASK)
