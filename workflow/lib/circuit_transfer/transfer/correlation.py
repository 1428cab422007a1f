"""Similarity of projected scores to the target's gold scores of the same task.

Gold scores are those that attribution finds on the target itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import chance_jaccard, circuit_sizes, compare
from circuit_transfer.transfer.training_sets import (
    ONE_PROTOCOL,
    PROTOCOLS,
    Families,
    left_out_sets,
    study_protocols,
)

# The vectors that are compared, all over the target's nodes.
DEPTH, RANDOM, AFTER, GOLD = "source by depth", "random alignment", "trained", "gold"
CHANCE = "chance"
REGIMES = ("in-distribution", *PROTOCOLS.values(), *ONE_PROTOCOL.values())
CORRELATION_SCHEMA = {
    "source": pl.String,
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "map": pl.String,
    "training_set": pl.String,
    "regime": pl.String,
    "left": pl.String,
    "right": pl.String,
    "measure": pl.String,
    "proportion": pl.Float64,
    "value": pl.Float64,
    "seed": pl.Int64,
    "n_nodes": pl.Int64,
}

Vectors = dict[tuple[str | None, int | None], np.ndarray]


def compare_projections(
    projections: pl.DataFrame,
    gold: np.ndarray,
    proportions: Sequence[float],
    *,
    families: Families,
) -> pl.DataFrame:
    """Compare a task's projected source scores with the target's gold scores.

    Source and target have different nodes, so source scores cannot be compared
    directly: `source by depth` are those that the depth heuristic projects.

    Args:
        projections: rankings of one pair, method and task: `source`, `target`, `task`,
            `method`, `training_set`, `map`, `control`, `seed`, `scores`. Controls other
            than random-alignment and depth-heuristic are not compared.
        gold: scores `(n_target,)`.
        proportions: sizes of the circuits, as shares of all nodes.
        families: of the study's tasks.

    Returns:
        One row per two vectors and measure, see `CORRELATION_SCHEMA`. `map`,
        `training_set`, `regime` and `seed` are those of the projection, and null where
        it has none; the correlation of a constant vector is null. `n_nodes` is the size
        of the circuits of a Jaccard index, and else null. The rows `chance` are
        the expected overlap of random circuits with the gold ones. Without projections
        or known gold scores there are no rows.
    """
    if projections.is_empty() or not np.isfinite(gold).all():
        return pl.DataFrame(schema=CORRELATION_SCHEMA)
    keys = projections.select("source", "target", "task", "method").row(0)
    sets = compared_sets(projections["task"][0], families)
    rows = [
        (*keys, None, None, None, CHANCE, GOLD, "jaccard", proportion, value, None)
        for proportion, value in _chances(len(gold), proportions)
    ]
    rows += [
        (*keys, *labels, left, right, measure, proportion, value, seed)
        for labels, seed, left, right, vectors in _couples(projections, gold, sets)
        for measure, proportion, value in compare(*vectors, proportions)
    ]
    measured = {k: v for k, v in CORRELATION_SCHEMA.items() if k != "n_nodes"}
    frame = pl.DataFrame(rows, schema=measured, orient="row")
    size = pl.col("proportion").replace_strict(
        circuit_sizes(len(gold), proportions), default=None, return_dtype=pl.Int64
    )
    return frame.with_columns(pl.col("value").fill_nan(None), n_nodes=size)


def _couples(
    projections: pl.DataFrame, gold: np.ndarray, sets: Mapping[str, str]
) -> Iterator[tuple]:
    """Yield map, set and regime; the seed; the names of two vectors; the vectors."""
    depth = _vectors(projections, "depth-heuristic").get((None, None))
    by_chance = _vectors(projections, "random-alignment")
    if depth is not None:
        yield (None, None, None), None, DEPTH, GOLD, (depth, gold)
    for (name, seed), vector in by_chance.items():
        for other, right in ((GOLD, gold), (DEPTH, depth)):
            if right is not None:
                yield (name, None, None), seed, RANDOM, other, (vector, right)
    for row in projections.filter(control="none").iter_rows(named=True):
        vector, seed = np.asarray(row["scores"]), row["seed"]
        drawn = by_chance.get((row["map"], seed))
        rights = ((GOLD, gold), (DEPTH, depth), (RANDOM, drawn))
        for (regime, name), (other, right) in product(sets.items(), rights):
            if name == row["training_set"] and right is not None:
                labels = (row["map"], name, regime)
                yield labels, seed, AFTER, other, (vector, right)


def _chances(
    n_nodes: int, proportions: Sequence[float]
) -> Iterator[tuple[float, float]]:
    for proportion, size in circuit_sizes(n_nodes, proportions).items():
        yield proportion, chance_jaccard(size, n_nodes)


def _vectors(projections: pl.DataFrame, control: str) -> Vectors:
    rows = projections.filter(control=control).iter_rows(named=True)
    return {(row["map"], row["seed"]): np.asarray(row["scores"]) for row in rows}


def compared_sets(task: str, families: Families) -> dict[str, str]:
    """Return by regime the training sets that are compared on a task."""
    left_out, names = left_out_sets(task, families), study_protocols(families)
    zero_shot = {name: left_out[protocol] for protocol, name in names.items()}
    return {"in-distribution": f"only-{task}"} | zero_shot
