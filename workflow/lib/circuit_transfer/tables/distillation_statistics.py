"""Distilled students in numbers: levels of every variant, and tested differences.

Levels of one task are means over the seeds of a variant, with Student's interval; those
over tasks have the interval of the cluster bootstrap, over tasks and seeds within.
Differences are paired by task and seed: every variant minus each baseline, and the
method minus its other baselines and controls; by some measures, every variant minus the
student before. A student that never reaches the accuracy
until which steps are counted enters with the steps of its whole training: that is the
least that it can need. The number of such students is given with every number of steps.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from circuit_transfer.distillation.frames import AFTER, BEFORE, TEACHER_STATE
from circuit_transfer.statistics import compare
from circuit_transfer.tables.differences import (
    MEAN,
    TESTS,
    Cells,
    adjust,
    paired_cells,
    tested,
)
from circuit_transfer.tables.method_statistics import (
    DIFFERENCE,
    LEVEL,
    SEED,
    mean_with_interval,
)

# What stands beside the variants: both models as they are given.
TEACHER, STUDENT = "teacher", "student before"
REFERENCES = {TEACHER_STATE: TEACHER, BEFORE: STUDENT}
METHOD = "matched-cka"
# What every variant is compared with, and what the method alone is.
AGAINST = ("ce-heads", "random-cka")
METHOD_AGAINST = ("shuffled-cka", "random-heads", "fine-tune")
STEPS, REACHED, OTHERS = "steps_to_accuracy", "reached", "other_accuracy"
COSTS = ("seconds", "passes")
# What is measured on the other tasks too.
ANSWERS = ("accuracy", "right_above_wrong", "task_loss")
# What trained students are compared by with the student before: whether they have
# forgotten other tasks, and whether their circuit has moved towards the teacher's.
MOVED = (OTHERS, "cka", "node_correlation", "edge_correlation")
COMPARED = (
    *("accuracy", "circuit_accuracy", STEPS, "task_loss", OTHERS),
    *("cka", "node_correlation", "edge_correlation"),
)
# All that a student is measured by.
MEASURES = (
    *("accuracy", "circuit_accuracy", "faithfulness", "right_above_wrong"),
    *("task_loss", STEPS, REACHED, OTHERS),
    *("cka", "node_correlation", "edge_correlation", *COSTS),
)
COLUMNS = {
    "row": (
        pl.String,
        "level: the number of a variant, mean over seeds; seed: that of one seed; "
        "difference: a variant's number minus another's",
    ),
    "task": (pl.String, "the task that students are trained on; mean: over the tasks"),
    "variant": (
        pl.String,
        "how students are trained; teacher, student before: both models as given",
    ),
    "against": (
        pl.String,
        "the variant that it is compared with, or the student before",
    ),
    "seed": (pl.Int64, "the seed of a row of one"),
    "measure": (
        pl.String,
        "accuracy, right_above_wrong, task_loss (nats) of test pairs of the task; "
        "circuit_accuracy: with all but the critical heads ablated; faithfulness: its "
        "share of the accuracy; steps_to_accuracy: until distillation.accuracy, of a "
        "student that never reaches it all steps; reached: share of those that do; "
        "other_accuracy: mean over the other tasks; cka: mean over the "
        "matched heads, debiased; node_correlation, edge_correlation: of their scores "
        "and of the edges between them with the teacher's; seconds, passes: of one "
        "training",
    ),
    "value": (pl.Float64, "the number"),
    "low": (pl.Float64, "lower end of its 95 % interval: of a task over seeds"),
    "high": (pl.Float64, "upper end of it; of means over tasks and seeds within"),
    "p_permutation": (pl.Float64, "two-sided, sign flips over tasks x seeds"),
    "p_permutation_holm": (
        pl.Float64,
        "adjusted by Holm for the family of the difference, by measure and task: all "
        "variants minus the same one of ce-heads, random-cka and student before; "
        "matched-cka minus shuffled-cka, random-heads and fine-tune",
    ),
    "p_wilcoxon": (pl.Float64, "Wilcoxon's signed ranks over tasks x seeds"),
    "p_wilcoxon_holm": (pl.Float64, "adjusted likewise"),
    "p_tasks": (pl.Float64, "two-sided, sign flips over the means of several tasks"),
    "p_tasks_holm": (pl.Float64, "adjusted likewise"),
    "least_p": (
        pl.Float64,
        "the smallest p_permutation_holm of so many tasks x seeds and comparisons",
    ),
    "n_censored": (
        pl.Int64,
        "of steps: tasks x seeds in which a student never reaches the accuracy; in a "
        "difference, one of the two",
    ),
    "n_seeds": (pl.Int64, "how many seeds, of a task the most"),
    "n_tasks": (pl.Int64, "how many tasks"),
}
SCHEMA = {name: dtype for name, (dtype, _) in COLUMNS.items()}
DOCUMENTATION = {name: meaning for name, (_, meaning) in COLUMNS.items()}


class Number(NamedTuple):
    """What a number is of, but for task and seed."""

    variant: str
    measure: str


AllCells = dict[Number, Cells]
# A variant and what it is compared with.
Compared = tuple[str, str]


def distillation_statistics(
    measures: pl.DataFrame, *, steps: int, seed: int = 0
) -> pl.DataFrame:
    """Return the levels of every variant and its differences, see `COLUMNS`.

    Args:
        measures: of one teacher and student, see `frames.MEASURED_COLUMNS`.
        steps: those of a training, in place of steps to an accuracy never reached.
        seed: of the resamples and random signs.
    """
    cells = _cells(_numbers(measures, steps))
    rows: list[dict[str, Any]] = []
    for number, of_task in cells.items():
        arrays = {task: np.array([*each.values()]) for task, each in of_task.items()}
        levels = [{"row": LEVEL} | each for each in _means(arrays, seed)]
        found = [*levels, *_seeds(of_task)]
        if number.measure == STEPS:
            for row in levels:
                row["n_censored"] = _censored(cells, [number.variant], row["task"])
        rows += [number._asdict() | row for row in found]
    variants = dict.fromkeys(number.variant for number in cells)
    for measure in COMPARED:
        for family in _families(variants, measure):
            rows += _differences(cells, family, measure, seed)
    return pl.DataFrame(rows, schema=SCHEMA).fill_nan(None)


def _numbers(measures: pl.DataFrame, steps: int) -> pl.DataFrame:
    """Return `value` by variant, measure, task and seed, where there is one.

    Models as given have the same numbers in the files of all variants and seeds: they
    have no seed here.
    """
    is_after = pl.col("state") == AFTER
    is_own = pl.col("evaluated_task") == pl.col("task")
    given = pl.col("state").replace_strict(REFERENCES, default=None)
    # A student without pairs to train on was not trained, and reaches nothing.
    is_trained = is_after & is_own & pl.col("seconds").is_not_null()
    reached = pl.col(STEPS).is_not_null()
    named = measures.with_columns(
        given.fill_null(pl.col("variant")).alias("variant"),
        pl.when(is_after).then("seed").alias("seed"),
        pl.when(is_trained).then(reached).alias(REACHED),
        pl.when(is_trained).then(pl.col(STEPS).fill_null(steps)).alias(STEPS),
        *(pl.when(is_own).then(each).alias(each) for each in ANSWERS),
        pl.when(~is_own).then("accuracy").alias(OTHERS),
    )
    keys = ["variant", "task", "seed"]
    numbers = named.select(*keys, pl.col(*MEASURES).cast(pl.Float64).fill_nan(None))
    means = numbers.group_by(keys, maintain_order=True).mean()
    return means.unpivot(MEASURES, index=keys, variable_name="measure").drop_nulls(
        "value"
    )


def _cells(numbers: pl.DataFrame) -> AllCells:
    cells: AllCells = {}
    for row in numbers.iter_rows(named=True):
        of_task = cells.setdefault(Number(row["variant"], row["measure"]), {})
        of_task.setdefault(row["task"], {})[row["seed"]] = row["value"]
    return cells


def _means(cells: Mapping[str, np.ndarray], seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every task, and one for the mean of several."""
    for task, values in cells.items():
        yield {"task": task} | mean_with_interval([values], seed)
    if len(cells) > 1:
        yield {"task": MEAN} | mean_with_interval([*cells.values()], seed)


def _seeds(of_task: Cells) -> Iterator[dict[str, Any]]:
    labels = {"row": SEED, "n_seeds": 1, "n_tasks": 1}
    for task, seeds in of_task.items():
        for seed, value in seeds.items():
            if seed is not None:
                yield labels | {"task": task, "seed": seed, "value": value}


def _censored(cells: AllCells, variants: Sequence[str], task: str) -> int:
    """Return in how many tasks x seeds one of the variants never had the accuracy."""
    never = {
        (name, seed)
        for variant in variants
        for name, seeds in cells[Number(variant, REACHED)].items()
        for seed, reached in seeds.items()
        if task in (name, MEAN) and not reached
    }
    return len(never)


def _families(variants: Iterable[str], measure: str) -> Iterator[list[Compared]]:
    """Yield what is compared with what, those together that are adjusted together.

    The method is better than both baselines, or than all, only if every test shows it:
    for such a claim no adjustment over what it is compared with is needed (Berger 1982,
    Multiparameter hypothesis testing and acceptance sampling).
    """
    trained = [name for name in variants if name not in REFERENCES.values()]
    for against in (*AGAINST, *([STUDENT] if measure in MOVED else ())):
        yield [(name, against) for name in trained if name != against]
    yield [(METHOD, against) for against in METHOD_AGAINST]


def _differences(
    cells: AllCells, family: Iterable[Compared], measure: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the differences of a family, on each task and over several."""
    together: dict[str, list[dict[str, Any]]] = {}
    for variant, against in family:
        ours, theirs = (
            cells.get(Number(each, measure), {}) for each in (variant, against)
        )
        common = sorted(ours.keys() & theirs.keys())
        paired = dict(zip(common, paired_cells(ours, theirs, mean=False), strict=True))
        labels = {"row": DIFFERENCE, "against": against}
        labels |= Number(variant, measure)._asdict()
        for row in _means(paired, seed):
            task = row["task"]
            row |= labels | _tests(paired, task, seed)
            if measure == STEPS:
                row["n_censored"] = _censored(cells, [variant, against], task)
            together.setdefault(task, []).append(row)
    for rows in together.values():
        for test in rows[0].keys() & TESTS:
            adjust(rows, test)
        yield from (
            row | {"least_p": min(1.0, len(rows) * row["least_p"])} for row in rows
        )


def _tests(paired: Mapping[str, np.ndarray], task: str, seed: int) -> dict[str, float]:
    """Return the p values on a task, over its seeds, or over tasks x seeds."""
    cells = [*paired.values()] if task == MEAN else [paired[task]]
    found = tested(compare(cells, seed=seed))
    names = TESTS if task == MEAN else [each for each in TESTS if each != "p_tasks"]
    return {name: found[name] for name in names} | {
        "least_p": 2.0 ** (1 - found["n_cells"])
    }
