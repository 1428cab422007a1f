"""Faithfulness curves and their areas: what every table and figure is made from.

Every evaluated circuit is one curve: its faithfulness at growing sizes. `summarise`
turns all curves of a study into two frames that everything downstream reads.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

KEYS = {
    "kind": pl.String,
    "source": pl.String,
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "ablation": pl.String,
    "training_set": pl.String,
    "control": pl.String,
    "seed": pl.Int64,
    "regime": pl.String,
}
CURVE = {
    "proportion": pl.Float64,
    "n_nodes": pl.Int64,
    "logit_diff": pl.Float64,
    "faithfulness": pl.Float64,
    "kl": pl.Float64,
    "accuracy": pl.Float64,
}
ALIGNED_REGIMES = ("in-distribution", "near-distribution", "zero-shot")
UNTRAINED = "random-alignment"
RANKINGS = "random-rankings"

Means = dict[tuple[str, str, str], float]


def curve_areas(
    proportions: Sequence[float], faithfulness: Sequence[float]
) -> tuple[float, float]:
    """Area under a faithfulness curve (CPR) and between it and 1 (CMD).

    Both are trapezoid areas from the first proportion to the last, as MIB defines
    them (arXiv 2504.13151): a circuit that is faithful at every size from .001 to 1
    has CPR .999 and CMD 0.

    Raises:
        ValueError: if the lengths differ, or the proportions do not increase.
    """
    sizes = np.asarray(proportions, dtype=float)
    values = np.asarray(faithfulness, dtype=float)
    if sizes.shape != values.shape or sizes.size < 2:
        raise ValueError(
            f"a curve needs one faithfulness per proportion and at least two of them, "
            f"got {sizes.shape} proportions and {values.shape} values"
        )
    if not (np.diff(sizes) > 0).all():
        raise ValueError(f"proportions must increase, got {sizes.tolist()}")
    cpr = np.trapezoid(values, sizes)
    cmd = np.trapezoid(np.abs(1 - values), sizes)
    return float(cpr), float(cmd)


def regime(training_set: str, task: str, siblings: Iterable[Sequence[str]]) -> str:
    """Name what evaluating on `task` means for an alignment trained on a set.

    Raises:
        ValueError: if the training set leaves out another task than the evaluated one.
    """
    if training_set == "all":
        return "all"
    if training_set == f"without-{task}":
        return "zero-shot"
    prefix, _, trained = training_set.partition("-")
    if prefix != "only":
        raise ValueError(
            f"training set {training_set!r} evaluated on task {task!r}: expected "
            f"'all', 'without-{task}' or 'only-<task>'"
        )
    if trained == task:
        return "in-distribution"
    if any({trained, task} == set(pair) for pair in siblings):
        return "near-distribution"
    return "transfer"


def summarise(
    gold: Iterable[pl.DataFrame],
    random: Iterable[pl.DataFrame],
    aligned: Iterable[pl.DataFrame],
    *,
    siblings: Iterable[Sequence[str]],
    imported: Iterable[pl.DataFrame] = (),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Stack all curves with their regime, and reduce each to its CPR and CMD.

    Circuits from elsewhere, `imported`, have their own name as method.

    Returns:
        The curves, one row per circuit and size, and the areas, one row per circuit.
    """
    pairs = [tuple(pair) for pair in siblings]
    kinds = {"gold": gold, "random": random, "aligned": aligned, "imported": imported}
    curves = pl.concat(_stack(frames, kind) for kind, frames in kinds.items())
    curves = curves.with_columns(
        regime=pl.struct("kind", "control", "training_set", "task").map_elements(
            lambda row: _row_regime(row, pairs), return_dtype=pl.String
        )
    ).sort(*KEYS, "proportion")
    return curves, _areas(curves)


def _stack(frames: Iterable[pl.DataFrame], kind: str) -> pl.DataFrame:
    columns = KEYS | CURVE
    # The empty frame first: a study without transfers has no aligned frame at all.
    frames = [pl.DataFrame(schema=columns), *frames]
    stacked = pl.concat(frames, how="diagonal_relaxed")
    return stacked.with_columns(kind=pl.lit(kind)).select(*columns).cast(columns)


def _row_regime(row: Mapping[str, str], siblings: Iterable[Sequence[str]]) -> str:
    if row["kind"] != "aligned":
        return row["kind"]
    if row["control"] != "none":
        return "control"
    return regime(row["training_set"], row["task"], siblings)


def _areas(curves: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for key, curve in curves.group_by(*KEYS, maintain_order=True):
        try:
            areas = curve_areas(curve["proportion"], curve["faithfulness"])
        except ValueError as error:
            raise ValueError(f"curve of {dict(zip(KEYS, key, strict=True))}") from error
        rows.append((*key, *areas))
    areas = pl.DataFrame(
        rows, schema=KEYS | {"cpr": pl.Float64, "cmd": pl.Float64}, orient="row"
    )
    # A model that corruption leaves unchanged has no faithfulness: an empty cell.
    return areas.with_columns(pl.col("cpr", "cmd").fill_nan(None))


def pair_rows(frame: pl.DataFrame, source: str | None, target: str) -> pl.DataFrame:
    """Rows that one pair compares: the target's gold and random, the pair's aligned."""
    of_source = pl.col("source").eq_missing(pl.lit(source, pl.String))
    of_pair = (pl.col("kind") != "aligned") | of_source
    return frame.filter((pl.col("target") == target) & of_pair)


def named_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `row`, the name under which tables and figures list a circuit.

    It is the control's name for a control, `random-rankings` for random rankings,
    and the regime for everything else.
    """
    row = (
        pl.when(pl.col("regime") == "control")
        .then("control")
        .when(pl.col("kind") == "random")
        .then(pl.lit(RANKINGS))
        .otherwise("regime")
    )
    return frame.with_columns(row=row)


def pair_means(cpr: pl.DataFrame, source: str | None, target: str) -> Means:
    """Mean CPR over seeds (and transfer tasks) by method, row name and task.

    Rows are named as in `named_rows`, and two are added: `best`, the best of the
    aligned regimes, and `random`, the untrained alignment or, where that was not run,
    random rankings. Random rankings know no method: they stand under every one.
    """
    frame = named_rows(pair_rows(cpr, source, target)).drop_nulls("cpr")
    frame = frame.group_by("method", "row", "task").agg(pl.col("cpr").mean())
    means = {(method, row, task): cpr for method, row, task, cpr in frame.iter_rows()}
    return means | _reference_rows(means)


def _reference_rows(means: Means) -> Means:
    untrained = any(row == UNTRAINED for _, row, _ in means)
    added = {}
    for method in {method for method, _, _ in means}:
        for task in {task for _, _, task in means}:
            rankings = means.get(("random", RANKINGS, task))
            aligned = [means.get((method, row, task)) for row in ALIGNED_REGIMES]
            added[method, RANKINGS, task] = rankings
            added[method, "random", task] = (
                means.get((method, UNTRAINED, task)) if untrained else rankings
            )
            added[method, "best", task] = max(
                (value for value in aligned if value is not None), default=None
            )
    return {key: value for key, value in added.items() if value is not None}
