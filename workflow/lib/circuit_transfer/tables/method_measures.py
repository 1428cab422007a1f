"""What is measured of every method of nodes and edges: quality, stability and cost.

All circuits are of edges, so that their sizes compare: learned ones at the sizes that
they were learned for, rankings at the same sizes, scores of nodes lifted to edges. A
row of the frames has one number: that of a task, a method, a circuit, a seed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.edge_masks import EdgeMasks
from circuit_transfer.tables.edge_curves import FOUND, LIFTED
from circuit_transfer.tables.measures import AREAS

# What a circuit is of a method that learns circuits, beside the names of rankings.
LEARNED = "learned"
# What stability they have, beside that of seeds: of circuits of resampled pairs.
RESAMPLED = "resampled"
KEYS = {
    "task": pl.String,
    "method": pl.String,
    "circuit": pl.String,
    "seed": pl.Int64,
    "size": pl.Float64,
}
SCHEMA = KEYS | {"measure": pl.String, "value": pl.Float64}
# Of a circuit of one size; those of its complement say how complete it is.
COMPLEMENT = ("complement_accuracy", "complement_faithfulness")
OF_SIZE = ("faithfulness", "distance", "kl", "accuracy", *COMPLEMENT)
OF_SIZE += ("share", "n_edges", "n_effective")
STABILITY, OVER_RESAMPLES = "jaccard", "jaccard_resampled"
SUMS = ("seconds", "forwards", "forward_backwards")
# The columns that a file of measured circuits must have.
COLUMNS = ("task", "method", "control", "ranking", "seed", "own_size", "proportion")
STACK = dict.fromkeys(COLUMNS, pl.String) | {
    "seed": pl.Int64,
    "own_size": pl.Boolean,
    "proportion": pl.Float64,
}
# Of another table: types of the columns that are read.
STABILITY_COLUMNS = {
    **dict.fromkeys(("task", "method", "ranking", "size"), pl.String),
    "jaccard": pl.Float64,
}


def shown_size(shares: Sequence[float], sizes: Sequence[float]) -> float:
    """Return the size at which all circuits of a method stand that chooses its own.

    Args:
        shares: of the edges, of the circuits of every task and seed.
        sizes: those that other methods learn circuits for.
    """
    known = np.log(np.asarray(sizes, float))
    return sizes[int(np.abs(known - np.log(shares).mean()).argmin())]


def placed_circuits(
    masks: Sequence[EdgeMasks], sizes: Sequence[float]
) -> Iterator[tuple[EdgeMasks, Sequence[float]]]:
    """Yield learned circuits that are known, and the sizes at which they stand.

    Args:
        masks: of all tasks and seeds, of one or several methods.
        sizes: see `shown_size`.
    """
    known = [each for each in masks if not np.isnan(each.flat).any()]
    by_method: dict[str, list[EdgeMasks]] = {}
    for each in known:
        by_method.setdefault(each.metadata["method"], []).append(each)
    for found in by_method.values():
        shares = [share for each in found for share in each.sizes]
        own = any(each.sizes != tuple(sizes) for each in found)
        for each in found:
            yield each, [shown_size(shares, sizes)] if own else sizes


def size_measures(
    frames: Iterable[pl.DataFrame], sizes: Sequence[float], learned: Collection[str]
) -> pl.DataFrame:
    """Return what was measured of the circuits of some sizes, see `SCHEMA`.

    Args:
        frames: circuits of edges, see `edge_curves`, of one target and ablation.
        sizes: shares of the edges that circuits were learned for. Learned circuits of
            other sizes, which result from the training, stand at the nearest of them.
        learned: the methods that learn circuits.
    """
    stack = pl.concat([pl.DataFrame(schema=STACK), *frames], how="diagonal_relaxed")
    found = _named(stack, learned)
    is_learned = pl.col("method").is_in([*learned])
    found = found.filter(pl.when(is_learned).then("own_size").otherwise(True))
    rows = [pl.DataFrame(schema=SCHEMA)]
    for (method,), part in found.group_by("method", maintain_order=True):
        shares = part["proportion"].to_numpy()
        close = np.isclose(shares[:, None], np.asarray(sizes, float), rtol=1e-6)
        size = np.where(close.any(1), np.take(sizes, close.argmax(1)), np.nan)
        if method in learned and np.isnan(size).any():
            size[:] = shown_size(shares, sizes)
        known = part.with_columns(
            size=pl.Series(size),
            share="proportion",
            distance=(1 - pl.col("faithfulness")).abs(),
        ).filter(np.isfinite(size))
        rows.append(_melted(known, OF_SIZE))
    # Rankings may have been measured at one size as part of a curve, and as their own.
    return pl.concat(rows).unique([*KEYS, "measure"], maintain_order=True)


def curve_measures(areas: pl.DataFrame, learned: Collection[str]) -> pl.DataFrame:
    """Return CPR, CMD and accuracy area of all rankings, see `SCHEMA`.

    Args:
        areas: see `edge_curves.edge_areas`, of one target and ablation.
        learned: the methods that learn circuits; their ranking is that of the edges at
            the first of their sizes.
    """
    size = pl.lit(None, dtype=pl.Float64)
    return _melted(_named(areas, learned).with_columns(size=size), AREAS)


def _named(frame: pl.DataFrame, learned: Collection[str]) -> pl.DataFrame:
    """Return the rows that are no controls, with the names of their circuits."""
    found = frame.filter(pl.col("control").is_in([FOUND, LIFTED]))
    is_learned = pl.col("method").is_in([*learned])
    name = (
        pl.when(is_learned)
        .then(pl.lit(LEARNED))
        .when(pl.col("control") == LIFTED)
        .then(pl.lit(LIFTED))
        .otherwise("ranking")
    )
    return found.with_columns(circuit=name)


def _melted(frame: pl.DataFrame, measures: Sequence[str]) -> pl.DataFrame:
    """Return a row per number; what a file does not have is left out."""
    known = [name for name in measures if name in frame.columns]
    numbers = frame.select(
        *(pl.col(name).cast(dtype) for name, dtype in KEYS.items()),
        pl.col(known).cast(pl.Float64),
    )
    rows = numbers.unpivot(known, index=[*KEYS], variable_name="measure")
    return rows.filter(pl.col("value").is_finite()).select(*SCHEMA)


def stability_measures(stability: pl.DataFrame) -> pl.DataFrame:
    """Return how stable the circuits of every size are, see `SCHEMA`.

    Args:
        stability: the table of `edge_stability.stability_table`.
    """
    known = stability.filter(pl.col("size").is_not_null())
    rows = known.with_columns(
        pl.col("size").cast(pl.Float64),
        pl.col(STABILITY).alias(OVER_RESAMPLES),
        circuit=pl.col("ranking").replace({RESAMPLED: LEARNED}),
        seed=pl.lit(None, dtype=pl.Int64),
    )
    ranking = pl.col("ranking")
    parts = (
        _melted(rows.filter(ranking != RESAMPLED), [STABILITY]),
        _melted(rows.filter(ranking != LEARNED), [OVER_RESAMPLES]),
    )
    return pl.concat(parts)


def cost_measures(
    costs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    shown: Iterable[tuple[str, str]],
    filters: Mapping[str, str],
) -> pl.DataFrame:
    """Return what it costs to find the circuits of a task, see `SCHEMA`.

    Args:
        costs: by method and task the rows of costs of its job, see `passes.measured`;
            of a learned method one for each seed, whose `part` is `seed-{seed}`.
        shown: every method, with the name of its circuits; of some several.
        filters: by learned method, the one that scores the edges among which it
            learns; its costs are added.
    """
    rows, circuits = [], {}
    for method, circuit in shown:
        circuits.setdefault(method, []).append(circuit)
    for (method, task), parts in costs.items():
        first = costs[filters[method], task] if method in filters else []
        for seed, own in _by_seed(parts).items():
            total = {name: sum(each[name] for each in [*own, *first]) for name in SUMS}
            total["passes"] = total["forwards"] + total["forward_backwards"]
            for circuit in circuits.get(method, ()):
                labels = (task, method, circuit, seed, None)
                rows += [(*labels, name, value) for name, value in total.items()]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _by_seed(
    parts: Sequence[Mapping[str, Any]],
) -> dict[int | None, list[Mapping[str, Any]]]:
    found: dict[int | None, list[Mapping[str, Any]]] = {}
    for part in parts:
        number = part["part"].removeprefix("seed-")
        seed = int(number) if number != part["part"] else None
        found.setdefault(seed, []).append(part)
    return found
