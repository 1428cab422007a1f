"""Which head of a teacher each head of a student is matched to, by every method."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.typesetting import Table

KEYS = ["task", "student_head"]
NOTE = (
    "The critical heads of the student, and the teacher's head that each is matched to "
    "by every method; students are trained by the first one, {used}. distance: by it; "
    "rank: the place of the matched head among the teacher's critical heads by "
    "distance, above 1 where nearer ones are matched to other heads. same: how many of "
    "the other methods choose the same head."
)
AGREEMENT_NOTE = (
    "The share of the student's critical heads that two methods match to the same head "
    "of the teacher; what they share with random is chance."
)


def matched_heads_table(
    matched: pl.DataFrame, *, tasks: Sequence[str], methods: Sequence[str]
) -> Table:
    """Every critical head of the student, and what each method matches it to.

    Args:
        matched: see `distillation.frames.MATCHED_COLUMNS`, of all tasks and methods.
        tasks: in order.
        methods: the method that students are trained by, then the others.
    """
    used, *others = methods
    wide = _by_method(matched, methods)
    own = matched.filter(method=used).select(*KEYS, "distance", "rank")
    same = [(pl.col(each) == pl.col(used)).cast(pl.Int64) for each in others]
    frame = own.join(wide, on=KEYS, how="left", maintain_order="left").select(
        *KEYS,
        *methods,
        "distance",
        "rank",
        pl.sum_horizontal(pl.lit(0, pl.Int64), *same).alias("same"),
    )
    in_order = [frame.filter(task=task) for task in tasks]
    note = NOTE.format(used=used)
    return Table(
        pl.concat([frame.clear(), *in_order]), labels=2 + len(methods), note=note
    )


def agreement_table(
    matched: pl.DataFrame, *, tasks: Sequence[str], methods: Sequence[str]
) -> Table:
    """How often each two methods agree: the mean over tasks first, then every task.

    Args:
        matched: see `matched_heads_table`.
        tasks: in order.
        methods: in order.
    """
    wide = _by_method(matched, methods)
    frame = pl.concat(_agreement(wide, method, methods) for method in methods)
    over = frame.group_by("method", maintain_order=True).agg(pl.col(methods).mean())
    over = over.select(pl.lit(MEAN).alias("task"), "method", *methods)
    blocks = [over] if len(tasks) > 1 else []
    blocks += [frame.filter(task=task) for task in tasks]
    return Table(pl.concat([frame.clear(), *blocks]), labels=2, note=AGREEMENT_NOTE)


def _agreement(wide: pl.DataFrame, method: str, methods: Sequence[str]) -> pl.DataFrame:
    """Return with what share of the heads a method agrees with each, by task."""
    same = ((pl.col(method) == pl.col(each)).mean().alias(each) for each in methods)
    by_task = wide.group_by("task", maintain_order=True).agg(*same)
    return by_task.select("task", pl.lit(method).alias("method"), *methods)


def _by_method(matched: pl.DataFrame, methods: Sequence[str]) -> pl.DataFrame:
    """Return a row for every head of the student, and a column for every method."""
    chosen = [
        pl.col("teacher_head").filter(pl.col("method") == each).first().alias(each)
        for each in methods
    ]
    return matched.group_by(KEYS, maintain_order=True).agg(chosen)
