"""Faithfulness curves and their areas: what every table and figure is made from.

Every evaluated circuit is one curve: its faithfulness at growing sizes. `summarise`
turns all curves of a study into two frames that everything downstream reads.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from circuit_transfer.transfer.training_sets import (
    ONE_PROTOCOL,
    PROTOCOLS,
    Families,
    left_out_sets,
    study_protocols,
)

KEYS = {
    "kind": pl.String,
    "source": pl.String,
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "ablation": pl.String,
    "training_set": pl.String,
    "map": pl.String,
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
    "agreement_right": pl.Float64,
    "agreement_wrong": pl.Float64,
    "complement_faithfulness": pl.Float64,
}
# Of circuits of edges, beside the nodes that they connect.
OF_EDGES = {"n_edges": pl.Int64}
# Each describes a whole curve by one number, see `curve_measures`.
MEASURES = dict.fromkeys(
    ("cpr", "cmd", "accuracy_area", "right_above_wrong_area", "max_faithfulness"),
    pl.Float64,
)
# Of circuits that a mask was trained for, see `transfer.projection`.
TRAINED = {"collapsed": pl.Boolean}
# One number per evaluated example, in order; see `batches.prompt_numbers`.
BY_EXAMPLE = {
    "logit_diffs": pl.List(pl.Float32),
    "empty_logit_diffs": pl.List(pl.Float32),
    "full_logit_diffs": pl.List(pl.Float32),
    "prompt_numbers": pl.List(pl.Int32),
}
# The share of examples with the right answer's logit above the wrong one's.
SHARE = {"right_above_wrong": pl.Float64}
# Trained on the evaluated task, or on its sibling.
SEEN = ("in-distribution", "near-distribution")
ZERO_SHOT = (*PROTOCOLS.values(), *ONE_PROTOCOL.values())
# The paper's regimes.
BEST_OF = (*SEEN, PROTOCOLS["task"], *ONE_PROTOCOL.values())
# Of circuits from elsewhere: rankings, and circuits that have one size alone.
IMPORTED, OWN_SIZE = "imported", "imported-circuit"
UNTRAINED = "random-alignment"
RANKINGS = "random-rankings"
# What random rankings of nodes have for a method.
RANDOM = "random"


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


def log_size_area(
    values: np.ndarray, proportions: Sequence[float], *, axis: int = -1
) -> np.ndarray:
    """Return the area under values over the logarithm of circuit size, in their unit.

    By the trapezoidal rule, divided by the range of the logarithms, so that a constant
    is its own area and every factor of size counts the same. Of accuracies it is the
    "acc-AUC" of Matryoshka attribution (arXiv 2609.25518).

    Args:
        values: one per size along `axis`.
        proportions: circuit sizes as shares of all nodes, increasing, above 0.
        axis: the axis of the sizes.
    """
    # As numbers: the sum of two truth values would be their disjunction.
    values = np.asarray(values, dtype=float)
    sizes = np.log(np.asarray(proportions, dtype=float))
    return np.trapezoid(values, sizes, axis=axis) / (sizes[-1] - sizes[0])


def curve_measures(curve: pl.DataFrame) -> tuple[float | None, ...]:
    """Return the `MEASURES` of one curve, a row per size.

    Beside `curve_areas` these are the areas over log size of `accuracy`, over the whole
    vocabulary, and of `right_above_wrong`, both in [0, 1], and the largest
    faithfulness: where that is above 1, CPR rewards a circuit for exaggerating.

    Raises:
        ValueError: as `curve_areas`.
    """
    sizes = curve["proportion"]
    areas = curve_areas(sizes, curve["faithfulness"])
    shares = (
        float(log_size_area(curve[name].to_numpy(), sizes))
        for name in ("accuracy", *SHARE)
    )
    return (*areas, *shares, curve["faithfulness"].max())


def regime(
    training_set: str,
    task: str,
    siblings: Iterable[Sequence[str]],
    families: Families,
) -> str:
    """Name what evaluating on `task` means for an alignment trained on a set.

    Only leaving the whole family out, `zero-shot-family`, keeps tasks with the same
    circuit out of training. That of a task which is a family by itself is `zero-shot`
    as well, and named so: a circuit has one regime. `named_rows` lists it under both.

    Raises:
        ValueError: if the training set leaves out another task or family than the
            evaluated one.
    """
    if training_set == "all":
        return "all"
    if training_set in left_out_sets(task, families).values():
        return PROTOCOLS["task" if training_set == f"without-{task}" else "family"]
    prefix, _, trained = training_set.partition("-")
    if prefix != "only":
        raise ValueError(
            f"training set {training_set!r} evaluated on task {task!r}: expected "
            f"'all', 'without-{task}', 'without-family-<its family>' (of several "
            "tasks) or 'only-<task>'"
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
    families: Families,
    imported: Iterable[pl.DataFrame] = (),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Stack all curves with their regime, and reduce each to its `MEASURES`.

    Circuits from elsewhere, `imported`, have their own name as method; those with one
    size alone are a kind by themselves and have no areas.

    Returns:
        The curves, one row per circuit and size, and the areas, one row per circuit.
    """
    pairs = [tuple(pair) for pair in siblings]
    kinds = {"gold": gold, "random": random, "aligned": aligned}
    imported = list(imported)
    kinds[IMPORTED] = map(imported_rankings, imported)
    kinds[OWN_SIZE] = map(imported_circuits, imported)
    curves = pl.concat(
        stacked(
            map(with_share, frames),
            kind,
            siblings=pairs,
            families=families,
            columns=CURVE | SHARE | TRAINED | OF_EDGES,
        )
        for kind, frames in kinds.items()
    )
    curves = curves.sort(*KEYS, "proportion")
    return curves, _areas(curves.filter(pl.col("kind") != OWN_SIZE))


def imported_rankings(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a ranking from elsewhere, at every size.

    Edges are ranked by their scores and by the magnitudes of these; both rankings are
    methods, `name, signed` and `name, absolute`.
    """
    if "own_size" not in frame.columns:
        return frame
    named = pl.concat_str("method", "ranking", separator=", ")
    return frame.filter(~pl.col("own_size")).with_columns(method=named)


def imported_circuits(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a circuit from elsewhere at its own size, or none."""
    own = pl.col("own_size") if "own_size" in frame.columns else pl.lit(False)
    return frame.filter(own)


def stacked(
    frames: Iterable[pl.DataFrame],
    kind: str,
    *,
    siblings: Iterable[Sequence[str]],
    families: Families,
    columns: Mapping[str, pl.DataType],
) -> pl.DataFrame:
    """Stack frames of one kind of circuits: their keys, regime and some columns."""
    columns = KEYS | dict(columns)
    # The empty frame first: a study without transfers has no aligned frame at all.
    frames = [pl.DataFrame(schema=columns), *frames]
    stack = pl.concat(frames, how="diagonal_relaxed")
    stack = stack.with_columns(kind=pl.lit(kind)).select(*columns).cast(columns)
    named = ("kind", "control", "training_set", "task")
    rows = stack.select(named).unique(maintain_order=True)
    regimes = [_row_regime(row, siblings, families) for row in rows.to_dicts()]
    rows = rows.with_columns(regime=pl.Series(regimes, dtype=pl.String))
    stack = stack.drop("regime").join(
        rows, on=named, nulls_equal=True, maintain_order="left"
    )
    return stack.select(*columns)


def with_share(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the share of examples with the right answer above the wrong one."""
    above = pl.col("logit_diffs").list.eval(pl.element() > 0)
    return frame.with_columns(right_above_wrong=above.list.mean())


def _row_regime(
    row: Mapping[str, str], siblings: Iterable[Sequence[str]], families: Families
) -> str:
    if row["kind"] != "aligned":
        return row["kind"]
    if row["control"] != "none":
        return "control"
    return regime(row["training_set"], row["task"], siblings, families)


def _areas(curves: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for key, curve in curves.group_by(*KEYS, maintain_order=True):
        try:
            measures = curve_measures(curve)
        except ValueError as error:
            raise ValueError(f"curve of {dict(zip(KEYS, key, strict=True))}") from error
        rows.append((*key, *measures, curve["collapsed"][0]))
    areas = pl.DataFrame(rows, schema=KEYS | MEASURES | TRAINED, orient="row")
    # A model that corruption leaves unchanged has no faithfulness: an empty cell.
    return areas.with_columns(pl.col("cpr", "cmd").fill_nan(None))


def pair_rows(frame: pl.DataFrame, source: str | None, target: str) -> pl.DataFrame:
    """Rows that one pair compares: the target's gold and random, the pair's aligned."""
    source = pl.lit(source, pl.String)
    of_pair = pl.col("source").is_null() | pl.col("source").eq_missing(source)
    return frame.filter((pl.col("target") == target) & of_pair)


def named_rows(frame: pl.DataFrame, families: Families) -> pl.DataFrame:
    """Add `circuit`, the name that tables and figures list it under, and `protocol`.

    The protocol is null where nothing was left out. What was trained without a task
    that is a family by itself has a row for both protocols. The name is the control's
    for a control, `random-rankings` for random rankings, the protocol's for any other
    circuit that was trained without the task, and else the regime.

    Args:
        frame: one row per circuit, or per circuit and size.
        families: of the study's tasks, see `training_sets.study_families`.
    """
    names = study_protocols(families)
    circuit = (
        pl.when(pl.col("regime") == "control")
        .then("control")
        .when(pl.col("kind") == RANDOM)
        .then(pl.lit(RANKINGS))
        .otherwise(pl.col("protocol").replace(names).fill_null(pl.col("regime")))
    )
    schema = dict.fromkeys(("training_set", "task", "protocol"), pl.String)
    rows = [
        (training_set, task, protocol)
        for task in frame["task"].unique()
        for protocol, training_set in left_out_sets(task, families).items()
    ]
    protocols = pl.DataFrame(rows, schema=schema, orient="row")
    listed = frame.join(
        protocols, on=("training_set", "task"), how="left", maintain_order="left_right"
    )
    return listed.with_columns(circuit=circuit).select(
        *frame.columns, "circuit", "protocol"
    )


def shown_protocols(names: pl.Series) -> dict[str, str]:
    """Return a study's protocols, see `study_protocols`, from the names of circuits."""
    return ONE_PROTOCOL if names.is_in([*ONE_PROTOCOL.values()]).any() else PROTOCOLS


def of_map(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of one map, and those that belong to none."""
    return frame.filter(pl.col("map").is_null() | (pl.col("map") == name))
