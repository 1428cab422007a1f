"""What resamples of the examples make of every circuit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from circuit_transfer.statistics import (
    RESAMPLES,
    area_draws,
    bootstrap_curves,
    generator,
    percentile_interval,
    resampling_weights,
)
from circuit_transfer.tables.curves import (
    BY_EXAMPLE,
    RANKINGS,
    ZERO_SHOT,
    log_size_area,
)
from circuit_transfer.tables.differences import MEAN, PLACE, Key

LEVEL_KEYS = (*PLACE, "circuit", "protocol", "task")
# Whose curves are drawn with a band.
DRAWN = ("gold", RANKINGS, "in-distribution", *ZERO_SHOT)
CURVE_SCHEMA = dict.fromkeys(LEVEL_KEYS, pl.String) | dict.fromkeys(
    ("proportion", "faithfulness", "low", "high"), pl.Float64
)
COUNTS = dict.fromkeys(("n_nodes", "n_edges"), pl.Int64)
CURVE_SCHEMA |= COUNTS
# What is read of every circuit.
EXAMPLES = {"proportion": pl.Float64} | COUNTS | BY_EXAMPLE


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
        n_nodes: the numbers of nodes at these sizes.
        n_edges: those of edges; null for circuits of nodes.
        examples: how many.
        distinct: how many distinct pairs of prompts they have.
    """

    cpr: np.ndarray
    cmd: np.ndarray
    right_above_wrong_area: np.ndarray
    faithfulness: np.ndarray
    curve: np.ndarray | None
    proportions: tuple[float, ...]
    n_nodes: tuple[int, ...]
    n_edges: tuple[int | None, ...]
    examples: int
    distinct: int


def example_draws(
    frame: pl.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drawn_circuits: Collection[str] = DRAWN,
) -> dict[Key, Draws]:
    """Resample the prompts of every level in a frame, see `study_statistics`.

    Examples with the same prompts are drawn together. The resamples belong to target
    and task: every circuit there sees the same ones. Those in `drawn_circuits` keep
    their curves.

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
        drawn = curves[..., 1:].mean(0) if names["circuit"] in drawn_circuits else None
        mean = curves[..., 0].mean(0)
        counts = [tuple(level[name][: len(sizes)]) for name in COUNTS]
        draws[key] = Draws(*areas, mean, drawn, sizes, *counts, examples, distinct)
    return draws


def _examples(lists: pl.Series) -> np.ndarray:
    return lists.list.to_array(len(lists[0])).to_numpy()


def curve_intervals(draws: Mapping[Key, Draws]) -> pl.DataFrame:
    """Faithfulness over size with 95 % intervals over examples, by task and their mean.

    Returns:
        One row per level of `DRAWN`, task (or `mean`) and size: `LEVEL_KEYS`,
        `proportion`, `faithfulness`, `low`, `high`, `n_nodes`,
        `n_edges`.
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
            first = known[keys[0]]
            numbers = (first.proportions, curve, low, high)
            numbers += tuple(getattr(first, name) for name in COUNTS)
            blocks += [(*key, *size) for size in zip(*numbers, strict=True)]
    frame = pl.DataFrame(blocks, schema=CURVE_SCHEMA, orient="row")
    return frame.fill_nan(None)
