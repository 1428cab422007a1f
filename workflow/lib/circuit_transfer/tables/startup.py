"""Table of the time that a study spent on starting its jobs."""

import polars as pl

from circuit_transfer.tables.typesetting import Table

STARTUP_SCHEMA = {
    "rule": pl.String,
    **dict.fromkeys(("seconds", "startup_seconds", "cpu_seconds"), pl.Float64),
}
STARTUP_NOTE = (
    "seconds: sum over whole jobs, including jobs that ran in parallel. startup "
    "seconds: from the start of a job's process to the start of its stage, that is "
    "Python and its imports, but not the imports during the stage. cpu seconds: of "
    "whole jobs. The planning of jobs, and the process that they are forked from, are "
    "not included."
)


def startup_table(rows: pl.DataFrame) -> Table:
    """Return the table of startup times by rule, in descending order, with a total.

    Args:
        rows: one per job, see `STARTUP_SCHEMA`.
    """
    share = 100 * pl.col("startup_seconds") / pl.col("seconds")
    amounts = (
        pl.len().cast(pl.Int64).alias("jobs"),
        pl.col("seconds", "startup_seconds", "cpu_seconds").sum(),
    )
    rules = rows.group_by("rule").agg(amounts)
    rules = rules.sort("seconds", "rule", descending=[True, False])
    everything = rows.select(pl.lit("all").alias("rule"), *amounts)
    frame = pl.concat([rules, everything]).with_columns(startup_percent=share)
    return Table(frame, labels=1, note=STARTUP_NOTE)
