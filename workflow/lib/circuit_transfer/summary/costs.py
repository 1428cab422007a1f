"""What the study cost, and from how many tasks on a transfer is cheaper."""

from collections.abc import Iterator

import polars as pl

from circuit_transfer.jobs.progress import duration
from circuit_transfer.summary.wording import counted, percent
from circuit_transfer.tables.costs import UNITS, verdict
from circuit_transfer.tables.typesetting import Table

QUESTION = "What did it cost?"
FLOPS = "FLOP"
# The columns that are read; a column with the FLOPs is named after their unit.
COSTS = {
    **dict.fromkeys(("stage", "model"), pl.String),
    **dict.fromkeys(("jobs", "forwards", "forward_backwards"), pl.Int64),
    "seconds_computing": pl.Float64,
}
NOTE = (
    "Passes are counted per prompt. seconds computing: without starting jobs and "
    "loading models, summed over jobs that ran at the same time."
)


def costs_answer(costs: pl.DataFrame, balance: pl.DataFrame) -> list[str]:
    """Return sentences on what the stages that run models cost, and on break-even.

    Args:
        costs: the table of costs; the last row has the stage `all`.
        balance: see `tables.costs.break_even`.
    """
    total = costs.filter(stage="all")
    if total.is_empty():
        return ["No stage ran a model."]
    return [_total(total), *_break_even(balance)]


def _total(total: pl.DataFrame) -> str:
    row = total.row(0, named=True)
    unit = _unit(total)
    passes = counted(row["forwards"], "forward pass", "forward passes")
    both = counted(
        row["forward_backwards"],
        "forward and backward pass",
        "forward and backward passes",
    )
    return (
        f"{counted(row['jobs'], 'job')} ran models: {passes} and {both}, "
        f"{row[unit]:,.0f} {unit}, {duration(row['seconds_computing'])} of computing."
    )


def _unit(costs: pl.DataFrame) -> str:
    """Return the column of the FLOPs, which is named after their unit."""
    return next(each for each in costs.columns if each.endswith(FLOPS))


def _break_even(balance: pl.DataFrame) -> Iterator[str]:
    for unit in UNITS:
        if sentence := verdict(balance, unit):
            yield sentence


def costs_overview(costs: pl.DataFrame) -> Table:
    """Return the costs of every stage and model, and their sum."""
    *counts, seconds = COSTS
    shown = costs.select(*counts, _unit(costs), seconds)
    return Table(shown, labels=2, decimals=1, note=NOTE)


def shares(costs: pl.DataFrame) -> dict[str, tuple[float, str]]:
    """Return the share of the FLOPs by stage and model."""
    unit = _unit(costs)
    stages = costs.filter(pl.col("stage") != "all", pl.col(unit) > 0)
    total = stages[unit].sum()
    columns = stages.select("stage", "model", unit).iter_rows()
    return {
        f"{stage}, {model}": (amount / total, percent(amount / total))
        for stage, model, amount in columns
    }
