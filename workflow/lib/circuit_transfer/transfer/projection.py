"""Rankings of the target's nodes: source scores projected by maps and controls.

Plain arithmetic on what earlier stages wrote; the models are not needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.transfer.controls import (
    TARGET_ONLY,
    TRAINED_CONTROLS,
    control_sources,
    depth_heuristic,
    mlps_first,
    other_task,
    permuted,
    permuted_columns,
    ridge,
)
from circuit_transfer.transfer.maps import CARRIED, STITCHED, TRAINED_MAPS, transformed
from circuit_transfer.transfer.training_sets import Families, family_of, zero_shot_sets

RANKING_SCHEMA = {
    "training_set": pl.String,
    "map": pl.String,
    "control": pl.String,
    "seed": pl.Int64,
    "scores": pl.List(pl.Float32),
}
Row = tuple[str | None, str | None, str, int | None, np.ndarray]


def projected_rankings(
    task: str,
    sources: Mapping[str, np.ndarray],
    gold: Mapping[str, np.ndarray],
    alignments: Sequence[Alignment],
    masks: Sequence[Alignment],
    *,
    controls: Sequence[str],
    families: Families,
    stitched: Alignment | None = None,
    carried: Mapping[str, np.ndarray] | None = None,
) -> pl.DataFrame:
    """Project a task's source scores by every map and every control.

    Controls that belong to a training set are made for every zero-shot one.

    Args:
        task: the evaluated task.
        sources: scores `(n_source,)` of every task of the study on the source model.
        gold: scores `(n_target,)` of every task on the target; used for the training
            tasks of an alignment alone.
        alignments: fits of any training sets and seeds of one model pair and method.
        masks: the free masks of the task, one per seed.
        controls: which controls to add; see `controls.CONTROLS`.
        families: of the tasks; see `training_sets.study_families`.
        stitched: of the task, see `stitching`. It needs no other task, so it stands
            under both protocols, and so do the scores beside it that know no source.
        carried: in the same way scores `(n_target,)` by the source's gradients, under
            `none`, and under `<control>` or `<control>/<seed>` those of its controls.

    Returns:
        One row per ranking: `training_set`, `map` (of controls that belong to one),
        `control` (`none` for the aligned circuit itself), `seed` (null where nothing
        is random), `scores` (`n_target` of them).
    """
    zero_shot = zero_shot_sets(task, list(sources), families)
    rows: list[Row] = []
    for fit in alignments:
        transform = fit.metadata["transform"]
        vectors = {t: transformed(scores, transform) for t, scores in sources.items()}
        rows += _aligned(fit, vectors[task])
        if fit.metadata["training_set"] in zero_shot:
            family = family_of(task, families)
            others = [t for t in vectors if family_of(t, families) != family]
            rows += _of_every_map(fit, vectors, task, others, controls)
            if stitched is not None:
                rows += _stitched(fit, stitched.alignment, vectors, task, others)
            rows += _of_first_map(fit, vectors[task], task)
            rows += _supervised(fit, vectors, gold, task)
    if alignments:
        rows += _untrained(alignments[0], sources[task])
    if stitched is not None:
        for training_set, name in product(zero_shot, TARGET_ONLY):
            rows.append((training_set, None, name, None, stitched.tensors[name]))
    for training_set, name in product(zero_shot, carried or {}):
        control, _, seed = name.partition("/")
        labels = (training_set, CARRIED, control, int(seed) if seed else None)
        rows.append((*labels, carried[name]))
    for mask in masks:
        seed = mask.metadata["seed"]
        rows.append((f"only-{task}", None, "free-mask", seed, mask.alignment[0]))
    frame = pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")
    # What is not random was made again with the file of every seed.
    labels = [name for name in RANKING_SCHEMA if name != "scores"]
    frame = frame.unique(labels, keep="first", maintain_order=True)
    return frame.filter(pl.col("control").is_in(["none", *controls]))


def _aligned(fit: Alignment, scores: np.ndarray) -> Iterator[Row]:
    training_set = fit.metadata["training_set"]
    for name in fit.maps:
        yield training_set, name, "none", _seed(fit, name), fit.project(scores, name)


def _of_every_map(
    fit: Alignment,
    vectors: Mapping[str, np.ndarray],
    task: str,
    others: Sequence[str],
    controls: Sequence[str],
) -> Iterator[Row]:
    """Give every map a constant, permuted scores, and those of another family.

    A trained map was trained anew for the first two, an untrained one is as it is.
    """
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    given = _other_sources(fit, vectors, task, others)
    for name, (control, scores) in product(fit.maps, given.items()):
        if control not in controls:
            continue
        anew = name in TRAINED_MAPS and control in TRAINED_CONTROLS
        row_seed = _seed(fit, name) if control == "source-free" else seed
        projected = fit.project(scores, name, control if anew else "none")
        yield training_set, name, control, row_seed, projected


def _stitched(
    fit: Alignment,
    matrix: np.ndarray,
    vectors: Mapping[str, np.ndarray],
    task: str,
    others: Sequence[str],
) -> Iterator[Row]:
    """Project by the task's own matrix, which is the same for every fit."""
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    yield training_set, STITCHED, "none", None, vectors[task] @ matrix
    for control, scores in _other_sources(fit, vectors, task, others).items():
        row_seed = None if control == "source-free" else seed
        yield training_set, STITCHED, control, row_seed, scores @ matrix


def _other_sources(
    fit: Alignment, vectors: Mapping[str, np.ndarray], task: str, others: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what stands in for a task's scores in the controls of every map."""
    seed = fit.metadata["seed"]
    shuffled = permuted(vectors[task], task=task, seed=seed, what="random-source")
    given = {"source-free": _constant(fit, vectors), "random-source": shuffled}
    known = [each for each in others if np.isfinite(vectors[each]).all()]
    if known:
        given["other-family"] = vectors[other_task(task, known, seed=seed)]
    return given


def _of_first_map(fit: Alignment, scores: np.ndarray, task: str) -> Iterator[Row]:
    """Scramble what the first map is given, or the map; or leave it untrained."""
    training_set, seed = fit.metadata["training_set"], fit.metadata["seed"]
    name, matrix = fit.maps[0], fit.alignment
    shuffled = permuted(scores, task=task, seed=seed, what="scrambled-source")
    mixed_up = permuted_columns(matrix, task=task, seed=seed)
    yield training_set, name, "scrambled-source", seed, fit.project(shuffled)
    yield training_set, name, "permuted-alignment", seed, scores @ mixed_up
    if name in TRAINED_MAPS:
        yield None, name, "random-alignment", seed, scores @ fit.tensors["initial"]


def _supervised(
    fit: Alignment,
    vectors: Mapping[str, np.ndarray],
    gold: Mapping[str, np.ndarray],
    task: str,
) -> Iterator[Row]:
    """Use what the target's own scores on the training tasks say, not its behaviour."""
    tasks = fit.metadata["tasks"]
    if not tasks:
        return
    training_set = fit.metadata["training_set"]
    found = np.stack([transformed(gold[each], "max") for each in tasks])
    seen = np.stack([vectors[each] for each in tasks])
    yield training_set, None, "mean-gold", None, found.mean(0)
    yield training_set, None, "ridge", None, ridge(seen, found, vectors[task])


def _untrained(fit: Alignment, scores: np.ndarray) -> Iterator[Row]:
    source, target = fit.metadata["source_nodes"], fit.metadata["target_nodes"]
    spread = transformed(scores, "max") @ depth_heuristic(source, target)
    yield None, None, "depth-heuristic", None, spread
    yield None, None, "mlps-first", None, mlps_first(target)


def _constant(fit: Alignment, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the constant that training had in place of the source's scores."""
    tasks = fit.metadata["tasks"]
    if not tasks:
        return np.full_like(next(iter(vectors.values())), np.nan)
    seen = {each: vectors[each] for each in tasks}
    return next(iter(control_sources("source-free", seen, seed=0).values()))


def _seed(fit: Alignment, name: str) -> int | None:
    return fit.metadata["seed"] if name in TRAINED_MAPS else None
