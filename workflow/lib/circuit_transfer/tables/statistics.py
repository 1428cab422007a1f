"""The statistics of a study: levels with their intervals, and tested differences.

A *level* is how good a circuit is: the interval is over the examples it was measured
on, with the fits as they are, and the deviation over seeds is reported in addition. A
*difference* is how much better the aligned circuit is than another: its interval and
its p values are over tasks and seeds. No number mixes the two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.statistics import RESAMPLES, percentile_interval
from circuit_transfer.tables.curves import BEST_OF
from circuit_transfer.tables.differences import MEAN, PLACE, Key, differences
from circuit_transfer.tables.measures import AREAS, SHOWN
from circuit_transfer.tables.resampling import (
    LEVEL_KEYS,
    Draws,
    curve_intervals,
    example_draws,
)

KEYS = {
    "row": (pl.String, "level: how good a circuit is; difference: aligned minus other"),
    "source": (pl.String, "source model; null for gold and random circuits"),
    "target": (pl.String, "target model"),
    "method": (
        pl.String,
        "attribution method; random, random-edges for random rankings",
    ),
    "ablation": (pl.String, "what the nodes outside a circuit write"),
    "map": (pl.String, "map from source to target scores; null without one"),
    "circuit": (pl.String, "regime of an aligned circuit, gold, or name of a control"),
    "protocol": (
        pl.String,
        "left out of training: task, family; task (its family) where every task of the "
        "study is a family by itself; null for neither",
    ),
    "task": (pl.String, "evaluated task; mean: over the tasks"),
}
LEVEL = {
    "cpr": (pl.Float64, "CPR, mean over seeds (random rankings: over rankings)"),
    "cpr_low": (pl.Float64, "lower end of its 95 % interval over examples"),
    "cpr_high": (pl.Float64, "upper end of it (percentiles of the bootstrap)"),
    "cmd": (pl.Float64, "CMD, mean over seeds"),
    "cmd_low": (pl.Float64, "lower end of its 95 % interval over examples"),
    "cmd_high": (pl.Float64, "upper end of it"),
    "right_above_wrong_area": (
        pl.Float64,
        "accuracy area: area, over log circuit size, of the share of examples whose "
        "right answer has the higher logit; in [0, 1], mean over seeds",
    ),
    "right_above_wrong_area_low": (
        pl.Float64,
        "lower end of its 95 % interval over examples",
    ),
    "right_above_wrong_area_high": (pl.Float64, "upper end of it"),
    "max_faithfulness": (
        pl.Float64,
        "the largest faithfulness of the curve, which is the mean over seeds (of mean "
        "rows: and tasks); above 1 the circuit exaggerates, which CPR rewards",
    ),
    "recovery": (pl.Float64, "CPR as a share of the gold circuit's; null if that is 0"),
    "recovery_low": (pl.Float64, "lower end of its 95 % interval over examples"),
    "recovery_high": (pl.Float64, "upper end of it (same examples for both circuits)"),
    "seed_deviation": (pl.Float64, "standard deviation of the CPR over seeds"),
    "cmd_seed_deviation": (pl.Float64, "that of the CMD"),
    "right_above_wrong_area_seed_deviation": (pl.Float64, "that of the accuracy area"),
    "n_seeds": (pl.Int64, "how many seeds"),
    "n_examples": (pl.Int64, "how many examples; of mean rows: in all tasks"),
    "n_distinct": (
        pl.Int64,
        "how many distinct pairs of prompts these have, which are what is resampled; "
        "one alone gives no interval",
    ),
    "n_collapsed": (
        pl.Int64,
        "how many of its fits collapsed: a mask ended all open or all closed",
    ),
}
DIFFERENCE = {
    "comparison": (pl.String, "tests adjusted together: control, gold, map, lifted"),
    "against": (pl.String, "the other circuit, or the map that is compared with"),
    "measure": (
        pl.String,
        "what is compared: cpr, cmd (lower is better) or right_above_wrong_area; each "
        "is tested by itself",
    ),
    "mean_difference": (pl.Float64, "the measure minus the other's, mean over tasks"),
    "low": (pl.Float64, "lower end of its 95 % interval over tasks and seeds within"),
    "high": (pl.Float64, "upper end of it (percentiles of the cluster bootstrap)"),
    "d_z": (pl.Float64, "mean / standard deviation of differences, tasks x seeds"),
    "d_z_tasks": (pl.Float64, "the same over the tasks' means over seeds"),
    "p_permutation": (pl.Float64, "sign flips over tasks x seeds, two-sided"),
    "p_wilcoxon": (pl.Float64, "Wilcoxon's signed ranks over tasks x seeds, two-sided"),
    "p_tasks": (pl.Float64, "sign flips over the tasks' means, the stricter test"),
    "p_permutation_holm": (pl.Float64, "adjusted by Holm within the comparison"),
    "p_wilcoxon_holm": (pl.Float64, "adjusted by Holm within the comparison"),
    "p_tasks_holm": (pl.Float64, "adjusted by Holm within the comparison"),
    "least_p_tasks": (pl.Float64, "the smallest p_tasks that so many tasks can give"),
    "n_cells": (pl.Int64, "how many tasks x seeds"),
}
SHARED = {"n_tasks": (pl.Int64, "how many tasks")}
COLUMNS = KEYS | LEVEL | DIFFERENCE | SHARED
SCHEMA = {name: dtype for name, (dtype, _) in COLUMNS.items()}
DOCUMENTATION = {name: meaning for name, (_, meaning) in COLUMNS.items()}


def study_statistics(
    cpr: pl.DataFrame,
    frames: Iterable[pl.DataFrame],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return all levels and differences, and the mean curves with their intervals.

    Args:
        cpr: the area of every circuit, with `circuit` and `protocol` (`named_rows`).
        frames: every circuit at every size, named as in `cpr`, one number per example;
            all circuits of a level in the same frame.
        resamples: of the examples.
        seed: of all that is random.
    """
    draws: dict[Key, Draws] = {}
    for frame in frames:
        draws |= example_draws(frame, resamples=resamples, seed=seed)
    # In a fixed order: sums depend on it in the last digit, and files must not.
    cpr = cpr.drop_nulls("cpr").sort(*LEVEL_KEYS, "training_set", "seed")
    rows = [*levels(_with_best(cpr, draws), draws), *differences(cpr, seed=seed)]
    frame = pl.DataFrame(rows, schema=SCHEMA).fill_nan(None)
    return frame.sort(*KEYS, "comparison", "against", "measure"), curve_intervals(draws)


def _with_best(cpr: pl.DataFrame, draws: dict[Key, Draws]) -> pl.DataFrame:
    """Add `best`, on every task the best of the paper's regimes, to rows and draws."""
    place = [*PLACE, "task"]
    means = cpr.filter(pl.col("circuit").is_in(BEST_OF))
    means = means.group_by(*place, "circuit", "protocol").agg(pl.mean("cpr"))
    # By name where two are equal, so that the choice is the same every time.
    best = means.sort("cpr", "circuit", descending=[True, False]).unique(
        place, keep="first", maintain_order=True
    )
    for row in best.iter_rows(named=True):
        draw = draws.get(tuple(row[name] for name in LEVEL_KEYS))
        if draw:
            relabelled = row | {"circuit": "best", "protocol": None}
            draws[tuple(relabelled[name] for name in LEVEL_KEYS)] = draw
    keys = [*place, "circuit"]
    rows = cpr.join(best.select(keys), on=keys, how="semi", nulls_equal=True)
    rows = rows.with_columns(
        circuit=pl.lit("best"), protocol=pl.lit(None, dtype=pl.String)
    )
    return pl.concat([cpr, rows])


def levels(cpr: pl.DataFrame, draws: Mapping[Key, Draws]) -> Iterator[dict[str, Any]]:
    """Yield a row per level and task, and one over its tasks, with their intervals."""
    by_seed = cpr.group_by(*LEVEL_KEYS, "seed", maintain_order=True)
    by_seed = by_seed.agg(pl.mean(*AREAS), n_collapsed=pl.sum("collapsed"))
    across = by_seed.group_by(*LEVEL_KEYS[:-1], "seed", maintain_order=True)
    mean_by_seed = across.agg(pl.mean(*AREAS)).with_columns(task=pl.lit(MEAN))
    deviations = {
        tuple(row[: len(LEVEL_KEYS)]): row[len(LEVEL_KEYS) :]
        for frame in (by_seed, mean_by_seed)
        for row in frame.group_by(LEVEL_KEYS).agg(pl.col(AREAS).std()).iter_rows()
    }
    points = by_seed.group_by(LEVEL_KEYS, maintain_order=True)
    points = points.agg(
        pl.mean(*AREAS), pl.sum("n_collapsed"), n_seeds=pl.col("seed").n_unique()
    )
    of_task = {tuple(row[:-5]): row[-5:] for row in points.sort(LEVEL_KEYS).iter_rows()}
    for place, tasks in groupby(of_task, key=lambda key: key[:-1]):
        of_level = {key: (*of_task[key], draws.get(key)) for key in tasks}
        shares = {key: _recovery(key, of_task, draws) for key in of_level}
        for key, measured in of_level.items():
            yield _level(key, [measured], [shares[key]], deviations[key])
        key = (*place, MEAN)
        yield _level(key, [*of_level.values()], [*shares.values()], deviations[key])


def _recovery(
    key: Key, points: Mapping[Key, Sequence], draws: Mapping[Key, Draws]
) -> tuple[float, np.ndarray | None] | None:
    """Return what an aligned circuit reaches of gold, and that in every resample."""
    names = dict(zip(LEVEL_KEYS, key, strict=True))
    gold = names | dict.fromkeys(("source", "map", "protocol")) | {"circuit": "gold"}
    other = tuple(gold.values())
    if names["source"] is None or other not in points or points[other][0] <= 0:
        return None
    share = points[key][0] / points[other][0]
    if key not in draws or other not in draws:
        return share, None
    of_gold = draws[other].cpr
    return share, draws[key].cpr / np.where(of_gold > 0, of_gold, np.nan)


def _level(
    key: Key,
    measured: Sequence[tuple],
    shares: Sequence[tuple | None],
    deviations: Sequence[float | None],
) -> dict[str, Any]:
    *areas, n_collapsed, n_seeds, draws = zip(*measured, strict=True)
    shares = [share for share in shares if share]
    known = all(draw is not None for draw in draws)
    row = dict(zip(LEVEL_KEYS, key, strict=True)) | {"row": "level"}
    row |= dict(zip(AREAS, map(np.mean, areas), strict=True))
    row |= dict(zip((m.deviation for m in SHOWN), deviations, strict=True))
    row |= {"n_seeds": max(n_seeds), "n_tasks": len(measured)}
    row["n_collapsed"] = sum(n_collapsed)
    if known:
        for area in AREAS:
            row |= _interval(area, [getattr(draw, area) for draw in draws])
        curve = np.mean([draw.faithfulness for draw in draws], axis=0)
        row["max_faithfulness"] = curve.max()
        row["n_examples"] = sum(draw.examples for draw in draws)
        row["n_distinct"] = sum(draw.distinct for draw in draws)
    if shares:
        values, resampled = zip(*shares, strict=True)
        row["recovery"] = np.mean(values)
        if known and all(share is not None for share in resampled):
            row |= _interval("recovery", resampled)
    return row


def _interval(name: str, draws: Sequence[np.ndarray]) -> dict[str, float]:
    low, high = percentile_interval(np.mean(draws, axis=0))
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
