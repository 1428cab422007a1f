"""Which models and tasks: whether every model does every task."""

from collections.abc import Iterator, Sequence

import polars as pl

from circuit_transfer.summary.wording import counted, listed, percent
from circuit_transfer.tables.typesetting import Table

QUESTION = "Which models and tasks?"
YES, DOUBTFUL, NO = "yes", "doubtful", "no"
SHOWN = (
    *("model", "task", "pairs", "right_above_wrong", "accuracy"),
    *("logit_diff", "corrupted_logit_diff", "verdict"),
)
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
        models: one row per model and task, see `SHOWN`.
    """
    parts = models.partition_by("model", maintain_order=True)
    return [_sentence(part) for part in parts]


def _sentence(rows: pl.DataFrame) -> str:
    model, count = rows["model"][0], len(rows)
    clauses = [*_clauses(rows)]
    done = rows.filter(verdict=YES)
    if len(done) < count:
        start = f"{model} does {len(done)} of {counted(count, 'task')}"
        return f"{start}{': ' if clauses else ''}{'; '.join(clauses)}."
    tasks = f"all {count} tasks" if count > 1 else f"its task, {rows['task'][0]}"
    least = percent(done["right_above_wrong"].min())
    each = " of each" if count > 1 else ""
    amount = "at least " if count > 1 else ""
    return (
        f"{model} does {tasks}: the right answer has a higher logit than the wrong one "
        f"in {amount}{least} of the test pairs{each}."
    )


def _clauses(rows: pl.DataFrame) -> Iterator[str]:
    """Yield what a model does, may do, does not do, and has no pairs of."""
    known = (
        (YES, "it does"),
        (DOUBTFUL, "it is doubtful for"),
        (NO, "it does not do"),
    )
    for verdict, words in known:
        found = rows.filter(verdict=verdict)
        if len(found):
            shares = zip(found["task"], found["right_above_wrong"], strict=True)
            # Of a task without a share nothing more can be said than the verdict.
            names = [
                task if share is None else f"{task} ({percent(share)})"
                for task, share in shares
            ]
            yield f"{words} {listed(names, 'tasks')}"
    lacking = rows.filter(pl.col("verdict").is_null())["task"].to_list()
    if lacking:
        yield f"{listed(lacking, 'tasks')} {_has(lacking)} no test pairs"


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def models_overview(models: pl.DataFrame) -> Table:
    """Return what the whole models do on every task."""
    return Table(models.select(SHOWN), labels=2, note=NOTE)


def right_shares(models: pl.DataFrame) -> dict[str, tuple[float, str]]:
    """Return the share of pairs with the right answer above, by model and task."""
    known = models.drop_nulls("right_above_wrong")
    columns = known.select("model", "task", "right_above_wrong").iter_rows()
    return {
        f"{model}, {task}": (share, percent(share)) for model, task, share in columns
    }
