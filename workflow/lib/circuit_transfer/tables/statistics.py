"""The statistics of a study: levels with their intervals, and tested differences.

A *level* is how good a circuit is: the interval is over the examples it was measured
on, with the fits as they are, and the deviation over seeds is reported in addition. A
*difference* is how much better the aligned circuit is than another: its interval and
its p values are over tasks and seeds. No number mixes the two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.statistics import (
    RESAMPLES,
    area_draws,
    bootstrap_curves,
    generator,
    log_size_area,
    percentile_interval,
    resampling_weights,
)
from circuit_transfer.tables.curves import BEST_OF, RANKINGS, ZERO_SHOT
from circuit_transfer.tables.differences import MEAN, PLACE, Key, differences

LEVEL_KEYS = (*PLACE, "circuit", "protocol", "task")
# The measures that are shown together, each with an interval.
AREAS = ("cpr", "cmd", "right_above_wrong_area")
# Whose curves are drawn with a band.
DRAWN = ("gold", RANKINGS, "in-distribution", *ZERO_SHOT)
KEYS = {
    "row": (pl.String, "level: how good a circuit is; difference: aligned minus other"),
    "source": (pl.String, "source model; null for gold and random circuits"),
    "target": (pl.String, "target model"),
    "method": (pl.String, "attribution method; random for random rankings"),
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
    "comparison": (pl.String, "tests adjusted together: control, gold, map"),
    "against": (pl.String, "the other circuit, or the map that is compared with"),
    "mean_difference": (pl.Float64, "CPR minus the other's, mean over tasks"),
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
CURVE_SCHEMA = dict.fromkeys(LEVEL_KEYS, pl.String) | dict.fromkeys(
    ("proportion", "faithfulness", "low", "high"), pl.Float64
)


@dataclass(frozen=True)
class Draws:
    """What the resamples of the examples make of one circuit, mean over its seeds.

    Attributes:
        cpr: `(resamples,)`.
        cmd: `(resamples,)`.
        right_above_wrong_area: `(resamples,)`.
        faithfulness: `(sizes,)`, from all examples as they are.
        curve: faithfulness, `(sizes, resamples)`, of the circuits that are drawn.
        proportions: the sizes.
        examples: how many.
        distinct: how many distinct pairs of prompts they have.
    """

    cpr: np.ndarray
    cmd: np.ndarray
    right_above_wrong_area: np.ndarray
    faithfulness: np.ndarray
    curve: np.ndarray | None
    proportions: tuple[float, ...]
    examples: int
    distinct: int


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
    return frame.sort(*KEYS, "comparison", "against"), curve_intervals(draws)


def example_draws(
    frame: pl.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[Key, Draws]:
    """Resample the prompts of every level in a frame, see `study_statistics`.

    Examples with the same prompts are drawn together. The resamples belong to target
    and task: every circuit there sees the same ones.

    Raises:
        ValueError: if the circuits of a level were not all measured at the same sizes.
    """
    frame = frame.drop_nulls("logit_diffs")
    frame = frame.sort("training_set", "seed", "proportion")
    draws, weights = {}, {}
    for key, level in frame.group_by(LEVEL_KEYS, maintain_order=True):
        names = dict(zip(LEVEL_KEYS, key, strict=True))
        sizes = tuple(level["proportion"].unique().sort())
        if level["proportion"].to_list() != list(sizes) * (len(level) // len(sizes)):
            raise ValueError(f"circuits of {names}: not all at the sizes {sizes}")
        circuits = _examples(level["logit_diffs"])
        examples = circuits.shape[-1]
        circuits = circuits.reshape(-1, len(sizes), examples)
        clusters = level["prompt_numbers"][0].to_numpy()
        distinct = len(np.unique(clusters))
        place = (names["target"], names["task"], distinct)
        if place not in weights:
            random = generator(seed, *place)
            drawn = resampling_weights(clusters, resamples, random)
            even = np.full((1, examples), 1 / examples)
            weights[place] = np.concatenate([even, drawn])
        curves = bootstrap_curves(
            circuits,
            _examples(level["empty_logit_diffs"][:1])[0],
            _examples(level["full_logit_diffs"][:1])[0],
            weights[place],
        )
        cpr, cmd = area_draws(curves[..., 1:], sizes)
        # The area first: it is linear, and the examples are many.
        above = log_size_area(circuits > 0, sizes, axis=-2).mean(0)
        areas = cpr.mean(0), cmd.mean(0), weights[place][1:] @ above
        drawn = curves[..., 1:].mean(0) if names["circuit"] in DRAWN else None
        mean = curves[..., 0].mean(0)
        draws[key] = Draws(*areas, mean, drawn, sizes, examples, distinct)
    return draws


def _examples(lists: pl.Series) -> np.ndarray:
    return lists.list.to_array(len(lists[0])).to_numpy()


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
    mean_by_seed = across.agg(pl.mean("cpr")).with_columns(task=pl.lit(MEAN))
    deviations = {
        tuple(row[:-1]): row[-1]
        for frame in (by_seed, mean_by_seed)
        for row in frame.group_by(LEVEL_KEYS).agg(pl.std("cpr")).iter_rows()
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
            yield _level(key, [measured], [shares[key]], deviations.get(key))
        key = (*place, MEAN)
        yield _level(key, [*of_level.values()], [*shares.values()], deviations.get(key))


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
    deviation: float | None,
) -> dict[str, Any]:
    *areas, n_collapsed, n_seeds, draws = zip(*measured, strict=True)
    shares = [share for share in shares if share]
    known = all(draw is not None for draw in draws)
    row = dict(zip(LEVEL_KEYS, key, strict=True)) | {"row": "level"}
    row |= dict(zip(AREAS, map(np.mean, areas), strict=True))
    row["seed_deviation"] = deviation
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


def curve_intervals(draws: Mapping[Key, Draws]) -> pl.DataFrame:
    """Faithfulness over size with 95 % intervals over examples, by task and their mean.

    Returns:
        One row per level of `DRAWN`, task (or `mean`) and size: `LEVEL_KEYS`,
        `proportion`, `faithfulness`, `low`, `high`.
    """
    whole = {key: draw for key, draw in draws.items() if draw.curve is not None}
    known = {key: d for key, d in whole.items() if not np.isnan(d.faithfulness).any()}

    def level(key: Key) -> tuple:
        return tuple(map(str, key[:-1]))

    blocks = []
    for _, keys in groupby(sorted(known, key=lambda key: tuple(map(str, key))), level):
        keys = list(keys)
        points = [known[key].faithfulness for key in keys]
        curves = [known[key].curve for key in keys]
        rows = [*zip(keys, points, curves, strict=True)]
        means = (np.mean(each, axis=0) for each in (points, curves))
        rows.append(((*keys[0][:-1], MEAN), *means))
        for key, curve, resampled in rows:
            low, high = percentile_interval(resampled)
            numbers = (known[keys[0]].proportions, curve, low, high)
            blocks += [(*key, *map(float, size)) for size in zip(*numbers, strict=True)]
    frame = pl.DataFrame(blocks, schema=CURVE_SCHEMA, orient="row")
    return frame.fill_nan(None)
