"""The tables of rejected rows, and of what the columns of the statistics mean."""

from collections.abc import Mapping

import polars as pl

from circuit_transfer.prompts.reasons import count_kinds
from circuit_transfer.tables.statistics import DOCUMENTATION
from circuit_transfer.tables.typesetting import Table

# Rejected rows that a page shows: the report would otherwise grow with every one.
LONGEST = 1000


def statistics_columns() -> Table:
    """What the columns of the frame of all statistics mean."""
    frame = pl.DataFrame([*DOCUMENTATION.items()], ["column", "meaning"], orient="row")
    note = "Of results/tables/statistics.parquet, which has these texts as metadata."
    return Table(frame, labels=2, note=note)


def rejects_table(rejects: Mapping[tuple[str, str], pl.DataFrame]) -> Table:
    """The rows that could not be used, by model and task, and why."""
    columns = {"row": pl.Int64, "reason": pl.String, "clean": pl.String}
    note = "row: counted from 1 in its file, or in the prompts that were generated."
    frame = _by_cell(rejects, {"file": pl.String} | columns)
    return Table(frame, labels=6, longest=LONGEST, note=note)


def rejects_summary_table(rejects: Mapping[tuple[str, str], pl.DataFrame]) -> Table:
    """How many rows of every model and task could not be used, by reason.

    Reasons of one kind are one, the most frequent first, see `reasons`.
    """
    lines = []
    for (model, task), frame in rejects.items():
        for kind, rows, example in count_kinds(frame["reason"]):
            place = frame.filter(reason=example).row(0, named=True)
            lines.append(
                {
                    "model": model,
                    "task": task,
                    "reason": kind,
                    "example": None if example == kind else example,
                    "first": ", ".join(
                        filter(None, [place["file"], f"row {place['row']}"])
                    ),
                    "rows": rows,
                }
            )
    names = ("model", "task", "reason", "example", "first")
    schema = dict.fromkeys(names, pl.String) | {"rows": pl.Int64}
    note = (
        "reason: without the words and numbers of the single row, which example has; "
        "first: the first such row. Every row is in rejects.csv."
    )
    return Table(pl.DataFrame(lines, schema=schema), labels=5, note=note)


def _by_cell(
    rejects: Mapping[tuple[str, str], pl.DataFrame], columns: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Stack the frames of every model and task, with both names in front."""
    names = {"model": pl.String, "task": pl.String}
    frames = [pl.DataFrame(schema={**names, **columns})]
    for (model, task), frame in rejects.items():
        named = frame.with_columns(model=pl.lit(model), task=pl.lit(task))
        frames.append(named.select(*names, *columns).cast({**names, **columns}))
    return pl.concat(frames)
