"""Distilled students in tables: every variant, and what it is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.distillation_statistics import (
    COMPARED,
    MEASURES,
    REACHED,
    STUDENT,
    TEACHER,
)
from circuit_transfer.tables.method_statistics import DIFFERENCE, LEVEL
from circuit_transfer.tables.typesetting import HALF_WIDTH, HIGH, LOW, Table, half_width

REACHED_PERCENT, PASSES = "reached_percent", "passes"
NOTE = (
    "Test pairs of the task that students are trained on, mean over seeds; ± "
    "half-width of the 95 % interval: of one task over seeds (Student's t), of means "
    "over tasks and seeds within. accuracy: the right answer is the most likely token; "
    "right above wrong: it is above the wrong one; task loss: its cross-entropy in "
    "nats. circuit accuracy: with all heads but the critical ones ablated to their "
    "mean; faithfulness: as a share of the accuracy. steps to accuracy: until "
    "{accuracy:g} of the test pairs are right; a student that never reaches this "
    "counts with all {steps} steps, so that the mean is a lower bound wherever reached "
    "is below 100 %. other accuracy: mean over the other tasks, on which the "
    "student is not trained; below that before, training interferes. cka: of the "
    "matched heads, debiased, mean; node, edge correlation: of the scores of matched "
    "heads, and of the edges between them, with the teacher's. seconds, passes "
    "(prompts through either model): of one training."
)
TESTS_NOTE = (
    "A variant minus another, paired by task and seed; in brackets the 95 % interval "
    "over tasks and seeds within, of one task over seeds (Student's t). p: two-sided: "
    "sign flips over tasks x seeds (of one task its seeds), Wilcoxon's signed ranks, "
    "and, the strictest, sign flips over the means of the tasks. Adjusted by Holm in "
    "families, one for each measure and task: all variants minus ce-heads; all minus "
    "random-cka; matched-cka minus shuffled-cka, random-heads and fine-tune; and, of "
    "other accuracy (interference), cka and correlations (whether the circuit moved "
    "towards the teacher's), all minus the student before. That "
    "matched-cka is better than several at once is shown if every one of its tests "
    "shows it, without a further adjustment. p least: the smallest that sign flips can "
    "give of so many tasks x seeds and comparisons of a family; where it is above .05, "
    "nothing can be shown. Of steps to accuracy and task loss lower is "
    "better. censored: tasks x seeds in which one of both never reaches the accuracy "
    "and counts with all steps, so that the difference is a bound."
)
EXPLANATIONS = {
    TEACHER: "the model whose circuit is distilled",
    STUDENT: "the student as given",
} | {name: variant.description for name, variant in VARIANTS.items()}


class DistillationLevels:
    """The statistics of the students of one teacher, by name."""

    def __init__(self, statistics: pl.DataFrame) -> None:
        """Take the frame of `distillation_statistics`."""
        names = ("variant", "measure", "task", "against")
        found = statistics.filter(pl.col("row").is_in([LEVEL, DIFFERENCE]))
        self._rows = {
            tuple(row[name] for name in names): row
            for row in found.iter_rows(named=True)
        }
        self.tasks = sorted({*found["task"]} - {MEAN})

    @property
    def over_tasks(self) -> str:
        """The name of the mean over tasks, or of the only task."""
        return MEAN if len(self.tasks) != 1 else self.tasks[0]

    def level(self, variant: str, measure: str, task: str = "") -> Mapping[str, Any]:
        """Return a number with its interval, or nothing; by default over tasks."""
        return self.difference(variant, None, measure, task)

    def difference(
        self, variant: str, against: str | None, measure: str, task: str = ""
    ) -> Mapping[str, Any]:
        """Return a variant minus another, tested, or nothing; by default over tasks."""
        key = (variant, measure, task or self.over_tasks, against)
        return self._rows.get(key, {})


def distillation_table(
    statistics: pl.DataFrame,
    *,
    tasks: Sequence[str],
    variants: Sequence[str],
    accuracy: float,
    steps: int,
    measures: Sequence[str] = MEASURES,
) -> Table:
    """Teacher, student and every variant: the mean over tasks first, then every task.

    Args:
        statistics: see `distillation_statistics`.
        tasks: in the order of the blocks.
        variants: in order.
        accuracy: until which steps are counted.
        steps: those of a training.
        measures: in order.
    """
    levels = DistillationLevels(statistics)
    lines = [
        {"task": task, "variant": variant}
        | dict(_cells(levels, variant, task, measures))
        for task in _blocks(tasks)
        for variant in (TEACHER, STUDENT, *variants)
    ]
    schema: dict[str, Any] = {"task": pl.String, "variant": pl.String}
    for name in measures:
        if name == REACHED:
            schema[REACHED_PERCENT] = pl.Float64
        elif name == PASSES:
            schema[PASSES] = pl.Int64
        else:
            schema |= {name: pl.Float64, name + HALF_WIDTH: pl.Float64}
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=2,
        note=NOTE.format(accuracy=accuracy, steps=f"{steps:,}"),
        explanations={
            name: text
            for name, text in EXPLANATIONS.items()
            if name in (TEACHER, STUDENT, *variants)
        },
    )


def _blocks(tasks: Sequence[str]) -> list[str]:
    return [MEAN, *tasks] if len(tasks) > 1 else [*tasks]


def _cells(
    levels: DistillationLevels, variant: str, task: str, measures: Sequence[str]
) -> Iterator[tuple[str, float | None]]:
    for name in measures:
        level = levels.level(variant, name, task)
        value = level.get("value")
        if name == REACHED:
            yield REACHED_PERCENT, None if value is None else 100 * value
        elif name == PASSES:
            yield PASSES, None if value is None else round(value)
        else:
            ends = {f"value_{end}": level.get(end) for end in ("low", "high")}
            yield name, value
            yield name + HALF_WIDTH, half_width(ends, "value")


def distillation_tests(
    statistics: pl.DataFrame,
    *,
    tasks: Sequence[str],
    variants: Sequence[str],
    measures: Sequence[str] = COMPARED,
) -> Table:
    """What every variant is compared with: means over tasks, then every task.

    Args:
        statistics: see `distillation_statistics`.
        tasks: in order.
        variants: in order.
        measures: in order.
    """
    labels = ("measure", "against", "variant", "task")
    against = (*variants, STUDENT)
    orders = dict(
        zip(labels, (measures, against, variants, _blocks(tasks)), strict=True)
    )
    shown = statistics.filter(
        pl.col("row") == DIFFERENCE, *(pl.col(k).is_in(v) for k, v in orders.items())
    )
    places = [
        pl.col(name).replace_strict(list(each), range(len(each)), return_dtype=pl.Int64)
        for name, each in orders.items()
    ]
    frame = shown.sort(places).select(
        *labels,
        pl.col("value").alias("difference"),
        pl.col("low").alias("difference" + LOW),
        pl.col("high").alias("difference" + HIGH),
        pl.col("p_permutation_holm").alias("p_tasks_x_seeds"),
        pl.col("p_wilcoxon_holm").alias("p_wilcoxon"),
        pl.col("p_tasks_holm").alias("p_tasks"),
        pl.col("least_p").alias("p_least"),
        pl.col("n_censored").alias("censored"),
    )
    return Table(frame, labels=4, blocks=2, note=TESTS_NOTE)
