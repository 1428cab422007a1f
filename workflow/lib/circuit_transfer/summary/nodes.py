"""Which nodes: the highest-scoring ones of every task."""

from collections import Counter

import polars as pl

from circuit_transfer.summary.wording import all_tasks, bracketed, counted, listed
from circuit_transfer.tables.typesetting import Table

QUESTION = "Which nodes?"
# The highest and the lowest nodes that the table names.
HIGHEST, LOWEST = 5, 2
# The columns that are read.
TOP_NODES = {
    **dict.fromkeys(("task", "method", "node"), pl.String),
    "rank": pl.Int64,
    **dict.fromkeys(("score", "low", "high"), pl.Float64),
}
NOTE = (
    "The nodes with the highest scores, in descending order, and those with the most "
    "negative ones, which oppose the right answer. ?: the 95 % interval includes 0, or "
    "there is none, so that the sign is open. aL.hH: attention head H of layer L; mL: "
    "the MLP block of layer L."
)


def nodes_answer(top: pl.DataFrame, *, target: str, noun: str = "node") -> list[str]:
    """Return one sentence per method: which node has the highest score of a task.

    Args:
        top: the highest nodes of a model by task and method, see `TOP_NODES`; `low`
            and `high` are null where there is no interval.
        target: the model.
        noun: `node` or `edge`: the column of their names.
    """
    first = top.filter(pl.col("rank") == 1, pl.col("score") > 0)
    if first.is_empty():
        return [f"No {noun} of {target} has a score: no task has usable train pairs."]
    parts = first.partition_by("method", maintain_order=True)
    return [_sentence(part, target, noun) for part in parts]


def _sentence(first: pl.DataFrame, target: str, noun: str) -> str:
    """Return a sentence on the highest nodes by one method, a row per task."""
    start = f"In {target} by {first['method'][0]},"
    if len(first) == 1:
        row = first.row(0, named=True)
        score = bracketed(row["score"], row["low"], row["high"])
        text = f"{start} {row[noun]} has the highest score on {row['task']}, {score}"
        return f"{text}{_caution(first)}."
    counts = Counter(first[noun]).most_common()
    (name, most), *others = counts
    tasks = counted(len(first), "task")
    if most == 1:
        return f"{start} every one of {tasks} has another {noun} at the top."
    share = f"{most} of {tasks}" if others else all_tasks(most)
    text = f"{start} {name} has the highest score on {share}"
    if others:
        more = [f"{other} on {count}" for other, count in others]
        text += f", {listed(more, f'{noun}s')}"
    return f"{text}{_caution(first)}."


def _caution(first: pl.DataFrame) -> str:
    """Say of which tasks the highest score was not shown to be above 0."""
    unsure = first.filter(pl.col("low").is_null() | (pl.col("low") <= 0))
    if unsure.is_empty():
        return ", with the 95 % interval above 0" + (" each" if len(first) > 1 else "")
    if len(first) == 1:
        return ", not shown to be above 0"
    return f"; not shown to be above 0 on {listed(unsure['task'].to_list(), 'tasks')}"


def nodes_table(top: pl.DataFrame, *, noun: str = "node", note: str = NOTE) -> Table:
    """Return the names of the highest and lowest nodes of every task and method.

    Args:
        top: as in `nodes_answer`.
        noun: `node` or `edge`: the column of their names.
        note: text below the table.
    """
    score = pl.col("score")
    shown = (pl.col("low") > 0) | (pl.col("high") < 0)
    mark = pl.when(shown).then(pl.lit("")).otherwise(pl.lit("?"))
    names = (pl.col(noun) + mark).sort_by("score")
    lowest = names.filter(score.sort() < 0).head(LOWEST)
    highest = names.reverse().filter(score.sort(descending=True) > 0).head(HIGHEST)
    frame = top.drop_nulls("score").group_by("task", "method", maintain_order=True)
    frame = frame.agg(highest.str.join(" "), most_negative=lowest.str.join(" "))
    frame = frame.rename({noun: "highest"})
    empty = pl.col("highest", "most_negative").replace("", None)
    return Table(frame.with_columns(empty), labels=4, note=note)
