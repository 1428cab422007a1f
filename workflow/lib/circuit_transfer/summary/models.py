"""Which models and tasks: whether every model does every task."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from circuit_transfer.summary.wording import all_tasks, listed, percent
from circuit_transfer.tables.models import (
    CALLED,
    DOUBTFUL,
    LACKING,
    MEANS,
    NO,
    SHARES,
    YES,
)
from circuit_transfer.tables.typesetting import HALF_WIDTH, HIGH, LOW, Table

QUESTION = "Which models and tasks?"
RIGHT = "right_above_wrong"
SHOWN = {
    **dict.fromkeys(("model", "task"), pl.String),
    "pairs": pl.Int64,
    **{name + end: pl.Float64 for name in SHARES for end in ("", LOW, HIGH)},
    **{name + end: pl.Float64 for name in MEANS for end in ("", HALF_WIDTH)},
    **dict.fromkeys(("verdict", "objection"), pl.String),
}
COUNTS = ("train", "test", "distinct_test", "rejected")
# The columns that are read.
MODELS = SHOWN | dict.fromkeys(COUNTS, pl.Int64)
NOTE = (
    "Whole models on their test pairs. right above wrong: share of the pairs in which "
    "the right answer has a higher logit than the wrong one; accuracy: share in which "
    "it has the highest logit of the vocabulary; logit diff: mean difference between "
    "right and wrong answer, corrupted logit diff: the same on the corrupted prompts. "
    "verdict: whether the model does the task; where it does not, a circuit for the "
    "task means little."
)


def models_answer(models: pl.DataFrame) -> list[str]:
    """Return one sentence per model: which of its tasks it does.

    Args:
        models: one row per model and task, see `MODELS`.
    """
    parts = models.partition_by("model", maintain_order=True)
    return [_sentence(part) for part in parts]


def _sentence(rows: pl.DataFrame) -> str:
    model, count = rows["model"][0], len(rows)
    done = rows.filter(_is_judged(YES))
    if len(done) == count:
        return f"{model} does {_all_tasks(done)}."
    worth = f"{len(done)} of {count} tasks" if len(done) else "no task"
    verb = "are" if len(done) > 1 else "is"
    names = f": {_named(done)}" if len(done) else ""
    sentences = [f"In {model}, {worth} {verb} worth studying{names}."]
    for verdict in (DOUBTFUL, NO):
        if len(found := rows.filter(_is_judged(verdict))):
            sentences.append(f"{CALLED[verdict]}: {_named(found)}.")
    lacking = rows.filter(pl.col("objection").is_in(LACKING))
    for task, why in lacking.select("task", "objection").iter_rows():
        sentences.append(f"{task} has {why}.")
    return " ".join(sentences)


def _all_tasks(done: pl.DataFrame) -> str:
    """Say that a model does all its tasks, and in how many pairs at least."""
    least = done.sort(RIGHT).row(0, named=True)
    share = _share(least)
    words = "the right answer has a higher logit than the wrong one in"
    if len(done) > 1:
        return (
            f"{all_tasks(len(done))}: {words} at least {share} of the test pairs of "
            "each"
        )
    return f"its task, {least['task']}: {words} {share} of the test pairs"


def _is_judged(verdict: str) -> pl.Expr:
    """Select the tasks with a verdict, but for those without pairs of a split."""
    lacking = pl.col("objection").is_in(LACKING).fill_null(False)
    return (pl.col("verdict") == verdict) & ~lacking


def _named(rows: pl.DataFrame) -> str:
    """Return tasks, their share with the right answer above, and the objection."""
    names = [
        f"{row['task']} ({', '.join(filter(None, [_share(row), row['objection']]))})"
        for row in rows.to_dicts()
    ]
    return listed(names, "tasks")


def _share(row: Mapping[str, Any]) -> str:
    """Return the share with the right answer above, and its interval."""
    low, high = (100 * row[RIGHT + end] for end in (LOW, HIGH))
    return f"{percent(row[RIGHT])} [{low:.0f}, {high:.0f}]"


def models_overview(models: pl.DataFrame) -> Table:
    """Return what the whole models do on every task."""
    frame = models.select(*SHOWN)
    if frame["objection"].is_null().all():
        frame = frame.drop("objection")
    return Table(frame, labels=2, note=NOTE)


def right_shares(models: pl.DataFrame) -> dict[str, tuple[float, str]]:
    """Return the share of pairs with the right answer above, by model and task."""
    known = models.drop_nulls(RIGHT)
    columns = known.select("model", "task", RIGHT).iter_rows()
    return {
        f"{model}, {task}": (share, percent(share)) for model, task, share in columns
    }
