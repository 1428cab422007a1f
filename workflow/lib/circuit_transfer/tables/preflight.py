"""The table of models as text for a terminal, and what follows from it for a study."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.tables.models import (
    BELOW_MOST,
    CALLED,
    FEW_PAIRS,
    LACKING,
    NO,
    NO_BETTER,
    NO_EFFECT,
    UNCLEAR_EFFECT,
    Cell,
)
from circuit_transfer.tables.text import aligned
from circuit_transfer.tables.typesetting import EMPTY, rounded

# Where a right answer is less often the most likely token, but above the wrong one,
# that is said: answers without their leading space look like that.
SAID = 0.5
HEADINGS = {
    "model": "model",
    "task": "task",
    "pairs": "pairs",
    "accuracy": "accuracy",
    "right_above_wrong": "right > wrong",
    "logit_diff": "logit diff",
    "corrupted_logit_diff": "corrupted",
    "verdict": "verdict",
    "rejected": "rejected",
}


def preflight_text(models: pl.DataFrame, reasons: pl.DataFrame) -> str:
    """Return the table of models as text, and which tasks are worth studying in which.

    Args:
        models: the frame of `models.models_table`.
        reasons: the frame of `layouts.rejects_summary_table`.
    """
    lines = [*_table(models), ""]
    first = {(row["model"], row["task"]): row for row in reversed(reasons.to_dicts())}
    for (model,), rows in models.group_by("model", maintain_order=True):
        lines += _findings(model, rows.to_dicts(), first)
    return "\n".join(lines)


def _table(models: pl.DataFrame) -> Iterator[str]:
    """Yield the lines of the table, model and task in each."""
    rows = [[*HEADINGS.values()]]
    rows += [[_text(row[name]) for name in HEADINGS] for row in models.to_dicts()]
    return aligned(rows, labels=2)


def _text(value: Any) -> str:
    if value is None:
        return EMPTY
    return rounded(value) if isinstance(value, float) else str(value)


def _findings(
    model: str, rows: Sequence[Mapping], reasons: Mapping[Cell, Mapping]
) -> Iterator[str]:
    """Yield for every verdict the tasks of a model, and below what is to be said."""
    tasks: dict[str, list[str]] = {verdict: [] for verdict in CALLED}
    comments: dict[str, list[str]] = {verdict: [] for verdict in CALLED}
    for row in rows:
        task, lacking = row["task"], row["objection"] in LACKING
        verdict = NO if lacking else row["verdict"]
        tasks[verdict].append(task)
        comment = "; ".join(_reasons(row, reasons.get((model, task))))
        comments[verdict] += [f"  {task}: {comment}"] if comment else []
    for verdict, called in CALLED.items():
        if tasks[verdict]:
            yield f"{called} in {model}: {', '.join(tasks[verdict])}."
            yield from comments[verdict]


def _reasons(row: Mapping[str, Any], reject: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what speaks against a task, with its numbers, and how many rows it lost."""
    objection = row["objection"]
    if objection in (NO_BETTER, BELOW_MOST, FEW_PAIRS):
        share, pairs = row["right_above_wrong"], row["pairs"]
        yield f"{objection} (right above wrong in {share:.2f} of {pairs} pairs)"
    elif objection in (NO_EFFECT, UNCLEAR_EFFECT):
        clean, corrupted = row["logit_diff"], row["corrupted_logit_diff"]
        yield f"{objection} (logit difference {clean:.2f}, then {corrupted:.2f})"
    elif objection:
        yield objection
    share, accuracy = row["right_above_wrong"], row["accuracy"]
    if share is not None and accuracy < SAID <= share:
        yield (
            f"another token is the most likely one (accuracy {accuracy:.2f}): check "
            "that the answers begin as the model writes them, with their space"
        )
    if reject:
        lost = row["rejected"]
        rows = lost + row["train"] + row["test"]
        first = reject["example"] or reject["reason"]
        yield f"{lost} of {rows} rows rejected, most like this one: {first}"
