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
ANCESTOR = "ancestor"
ANCESTOR_NOTE = " ancestor: the teacher's head that the student's was made from."
AGREEMENT_NOTE = (
    "The share of the student's critical heads that two methods match to the same head "
    "of the teacher; what they share with random is chance."
)
FOUND_NOTE = (
    " ancestor: the share matched to the teacher's head that they were made from."
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
    recorded = _recorded(matched)
    frame = own.join(wide, on=KEYS, how="left", maintain_order="left").select(
        *KEYS,
        *recorded,
        *methods,
        "distance",
        "rank",
        pl.sum_horizontal(pl.lit(0, pl.Int64), *same).alias("same"),
    )
    in_order = [frame.filter(task=task) for task in tasks]
    note = NOTE.format(used=used) + (ANCESTOR_NOTE if recorded else "")
    labels = len(KEYS) + len(recorded) + len(methods)
    return Table(pl.concat([frame.clear(), *in_order]), labels=labels, note=note)


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
    columns = [*methods, *_recorded(matched)]
    frame = pl.concat(_agreement(wide, method, columns) for method in methods)
    over = frame.group_by("method", maintain_order=True).agg(pl.col(columns).mean())
    over = over.select(pl.lit(MEAN).alias("task"), "method", *columns)
    blocks = [over] if len(tasks) > 1 else []
    blocks += [frame.filter(task=task) for task in tasks]
    note = AGREEMENT_NOTE + (FOUND_NOTE if ANCESTOR in columns else "")
    return Table(pl.concat([frame.clear(), *blocks]), labels=2, note=note)


def _recorded(matched: pl.DataFrame) -> list[str]:
    """Return the column of ancestors in a list, if any is recorded."""
    return [] if matched[ANCESTOR].is_null().all() else [ANCESTOR]


def _agreement(wide: pl.DataFrame, method: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return with what share of the heads a method agrees with each column, by task."""
    same = ((pl.col(method) == pl.col(each)).mean().alias(each) for each in columns)
    by_task = wide.group_by("task", maintain_order=True).agg(*same)
    return by_task.select("task", pl.lit(method).alias("method"), *columns)


def _by_method(matched: pl.DataFrame, methods: Sequence[str]) -> pl.DataFrame:
    """Return a row for every head of the student, a column for every method.

    And its recorded ancestor.
    """
    chosen = [
        pl.col("teacher_head").filter(pl.col("method") == each).first().alias(each)
        for each in methods
    ]
    recorded = pl.col(ANCESTOR).first()
    return matched.group_by(KEYS, maintain_order=True).agg(recorded, *chosen)
