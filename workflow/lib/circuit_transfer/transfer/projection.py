"""Rankings of a target's nodes or edges: source scores by maps and controls.

Gold scores are those that attribution finds on the target itself. A stitched alignment
and carried gradients are made for one task from both models' residual streams, see
`stitching` and `carried_gradients`. Plain arithmetic on the results of earlier stages;
no model is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment, tensor_name
from circuit_transfer.transfer.completed_maps import Completed
from circuit_transfer.transfer.controls import (
    RIDGE_CONTROLS,
    other_task,
    permuted,
    permuted_columns,
    ridge,
)
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE
from circuit_transfer.transfer.levels import NODES, Fit, Level
from circuit_transfer.transfer.maps import CARRIED, STITCHED, TRAINED_MAPS
from circuit_transfer.transfer.training_sets import Families, family_of, zero_shot_sets

LABELS = {
    "training_set": pl.String,
    "map": pl.String,
    "control": pl.String,
    "seed": pl.Int64,
}
SCORES, ENDS = {"scores": pl.List(pl.Float32)}, {"collapsed": pl.Boolean}
RANKING_SCHEMA = LABELS | SCORES | ENDS
Row = tuple[str | None, str | None, str, int | None, np.ndarray]
# Controls of a map in which nothing is random but its training.
UNDRAWN = ("source-free", DEGREE_SOURCE)


def projected_rankings(
    task: str,
    sources: Mapping[str, np.ndarray],
    gold: Mapping[str, np.ndarray],
    alignments: Sequence[Fit],
    masks: Sequence[Alignment],
    *,
    controls: Sequence[str],
    families: Families,
    stitched: Fit | None = None,
    carried: Mapping[str, np.ndarray] | None = None,
    level: Level = NODES,
) -> pl.DataFrame:
    """Project a task's source scores by every map and control, these zero-shot.

    Args:
        task: the evaluated task.
        sources: scores `(n_source,)` of every task of the study on the source model.
        gold: scores `(n_target,)` of every task on the target; used for the training
            tasks of an alignment alone.
        alignments: fits of any training sets and seeds of one model pair and method.
        masks: the free masks of the task, one per seed.
        controls: which controls to add; see `controls.CONTROLS`.
        families: of the tasks; see `training_sets.study_families`.
        stitched: the stitched alignment of the task. It uses no other task, so it is
            listed under both protocols, and so are the target-only scores in its file.
        carried: in the same way scores `(n_target,)` by carried gradients, under
            `none`, and those of its controls under `<control>` or `<control>/<seed>`.
        level: what all scores are of: `levels.NODES` or `levels.EDGES`.

    Returns:
        One row per ranking: `training_set`, `map` (of controls that have one),
        `control` (`none` for the aligned circuit), `seed` (null where nothing is
        random), `scores`, `collapsed` (whether a mask ended all open or all closed).
    """
    zero_shot = zero_shot_sets(task, list(sources), families)
    others = _other_families(task, list(sources), families)
    changes = None if stitched is None else stitched.tensors[level.changes]
    rows: list[Row] = []
    for fit in alignments:
        maps = Completed(fit, sources, gold, changes, level)
        rows += _aligned(maps, task)
        if fit.metadata["training_set"] in zero_shot:
            rows += _controls(maps, task, others, stitched, controls)
    if alignments:
        rows += _untrained(alignments[0], sources[task], level)
    rows += _of_task(task, zero_shot, stitched, carried or {}, masks, level)
    ends = [*_mask_ends(alignments, level), *_free_mask_ends(masks, task)]
    return _distinct(rows, ends).filter(pl.col("control").is_in(["none", *controls]))


def collapsed(open_shares: np.ndarray) -> bool:
    """Return whether any mask of a training ended with all nodes open, or all closed.

    Args:
        open_shares: `(tasks,)`, see `trained_maps.Fit`.
    """
    return bool(np.isin(open_shares, (0, 1)).any())


def _mask_ends(alignments: Sequence[Fit], level: Level) -> Iterator[tuple]:
    """Yield the labels of every trained map and control, and whether it collapsed."""
    for fit in alignments:
        place = fit.metadata["training_set"], fit.metadata["seed"]
        for name, control in product(fit.maps, ("none", *level.trained)):
            key = tensor_name("open_share", name, control, fit.maps)
            if key in fit.tensors:
                is_collapsed = collapsed(fit.tensors[key])
                yield place[0], name, control, place[1], is_collapsed


def _free_mask_ends(masks: Sequence[Alignment], task: str) -> Iterator[tuple]:
    for mask in masks:
        if "open_share" in mask.tensors:
            is_collapsed = collapsed(mask.tensors["open_share"])
            seed = mask.metadata["seed"]
            yield f"only-{task}", None, "free-mask", seed, is_collapsed


def _distinct(rows: Sequence[Row], ends: Sequence[tuple]) -> pl.DataFrame:
    """Return a frame of the rows, of those with the same labels the first one.

    A row without randomness comes again with the fit of every seed. Those with masks
    get how these ended.
    """
    frame = pl.DataFrame(rows, schema=LABELS | SCORES, orient="row")
    frame = frame.unique([*LABELS], keep="first", maintain_order=True)
    ended = pl.DataFrame(ends, schema=LABELS | ENDS, orient="row")
    how = {"how": "left", "nulls_equal": True, "maintain_order": "left"}
    return frame.join(ended, on=[*LABELS], **how)


def _other_families(task: str, tasks: Sequence[str], families: Families) -> list[str]:
    family = family_of(task, families)
    return [each for each in tasks if family_of(each, families) != family]


def _aligned(maps: Completed, task: str) -> Iterator[Row]:
    fit = maps.fit
    for name in fit.maps:
        scores = maps.project(maps.vectors(name)[task], name)
        yield fit.metadata["training_set"], name, "none", _seed(fit, name), scores


def _controls(
    maps: Completed,
    task: str,
    others: Sequence[str],
    stitched: Fit | None,
    controls: Sequence[str],
) -> Iterator[Row]:
    """Yield what the maps of a zero-shot training set are compared with."""
    yield from _of_every_map(maps, task, others, controls)
    yield from _stitched(maps, stitched, task, others, controls)
    yield from _of_first_map(maps, task)
    yield from _supervised(maps, task, others)


def _of_every_map(
    maps: Completed, task: str, others: Sequence[str], controls: Sequence[str]
) -> Iterator[Row]:
    """Give every map a constant, permuted scores, and those of another family.

    A trained map was retrained for all but the last, an untrained one stays the same.
    """
    fit = maps.fit
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    for name in fit.maps:
        for control, scores in _given(maps, name, task, others, controls).items():
            row_seed = _seed(fit, name) if control in UNDRAWN else seed
            projected = maps.project(scores, name, control)
            yield training_set, name, control, row_seed, projected


def _stitched(
    maps: Completed,
    stitched: Fit | None,
    task: str,
    others: Sequence[str],
    controls: Sequence[str],
) -> Iterator[Row]:
    """Project by the task's own matrix, if it has one; it is the same for every fit."""
    if stitched is None:
        return
    matrix, fit = stitched.alignment, maps.fit
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    yield training_set, STITCHED, "none", None, maps.vectors()[task] @ matrix
    for control, scores in _given(maps, None, task, others, controls).items():
        row_seed = None if control in UNDRAWN else seed
        yield training_set, STITCHED, control, row_seed, scores @ matrix


def _given(
    maps: Completed,
    name: str | None,
    task: str,
    others: Sequence[str],
    controls: Sequence[str],
) -> dict[str, np.ndarray]:
    """Return the scores that a map is given in its controls, those that are wanted."""
    given = _other_sources(maps, name, task, others)
    for control, reduce in maps.level.reduced.items():
        if control in controls:
            given[control] = reduce(maps.fit, maps.vectors(name)[task])
    return {each: scores for each, scores in given.items() if each in controls}


def _other_sources(
    maps: Completed, name: str | None, task: str, others: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the scores that replace a task's own in the controls of a map."""
    seed, vectors = maps.fit.metadata["seed"], maps.vectors(name)
    shuffled = _shuffled(maps, vectors[task], task, "random-source")
    given = {"source-free": maps.constant(name), "random-source": shuffled}
    known = [each for each in others if np.isfinite(vectors[each]).all()]
    if known:
        given["other-family"] = vectors[other_task(task, known, seed=seed)]
    return given


def _of_first_map(maps: Completed, task: str) -> Iterator[Row]:
    """Permute the first map's scores, or its columns; or take a random map."""
    fit = maps.fit
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    name = fit.maps[0]
    scores = maps.vectors(name)[task]
    shuffled = _shuffled(maps, scores, task, "scrambled-source")
    how = {"task": task, "seed": seed, "mix": maps.level.mix}
    mixed_up = permuted_columns(fit.alignment, **how)
    yield training_set, name, "scrambled-source", seed, maps.project(shuffled, name)
    by_others = maps.through(mixed_up, scores, name)
    yield training_set, name, "permuted-alignment", seed, by_others
    if name in TRAINED_MAPS:
        by_chance = scores @ maps.level.random(fit, name)
        yield None, name, "random-alignment", seed, by_chance


def _shuffled(
    maps: Completed, scores: np.ndarray, task: str, control: str
) -> np.ndarray:
    """Return a task's scores in a random order within their kinds."""
    seed, kinds = maps.fit.metadata["seed"], maps.level.kinds(maps.fit)
    return permuted(scores, task=task, seed=seed, what=control, kinds=kinds)


def _supervised(maps: Completed, task: str, others: Sequence[str]) -> Iterator[Row]:
    """Predict from the gold scores of the training tasks: their mean, and by ridge.

    The regression has controls of its own: it is given other scores than the task's.
    """
    fit, vectors = maps.fit, maps.vectors()
    if not (tasks := fit.metadata["tasks"]):
        return
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    found, scores = maps.training_gold(), vectors[task]
    seen = np.stack([vectors[each] for each in tasks])
    yield training_set, None, "mean-gold", None, maps.mean_gold()
    yield training_set, None, "ridge", None, ridge(seen, found, scores)
    given = _other_sources(maps, None, task, others)
    scrambled = _shuffled(maps, scores, task, "scrambled-source")
    given |= {"scrambled-source": scrambled}
    for control in sorted(given.keys() & RIDGE_CONTROLS):
        predicted = ridge(seen, found, given[control])
        yield training_set, None, RIDGE_CONTROLS[control], seed, predicted


def _untrained(fit: Fit, scores: np.ndarray, level: Level) -> Iterator[Row]:
    """Rank by rules that know only the names of the nodes, which any fit has."""
    for control, ranked in level.untrained.items():
        yield None, None, control, None, ranked(fit, scores)


def _of_task(
    task: str,
    training_sets: Sequence[str],
    stitched: Fit | None,
    carried: Mapping[str, np.ndarray],
    masks: Sequence[Alignment],
    level: Level,
) -> Iterator[Row]:
    """Yield the scores that were made for the task itself, under both protocols.

    From the target's own activations, by carried gradients, and the free masks, which
    were trained on the target and the task without any source.
    """
    if stitched is not None:
        for training_set, name in product(training_sets, level.target_only):
            yield training_set, None, name, None, stitched.tensors[name]
    for training_set, name in product(training_sets, carried):
        control, _, seed = name.partition("/")
        row_seed = int(seed) if seed else None
        yield training_set, CARRIED, control, row_seed, carried[name]
    for mask in masks:
        seed = mask.metadata["seed"]
        yield f"only-{task}", None, "free-mask", seed, mask.alignment[0]


def _seed(fit: Fit, name: str) -> int | None:
    return fit.metadata["seed"] if name in TRAINED_MAPS else None
