"""How much of a study was spent on starting its jobs."""

import polars as pl

from circuit_transfer.tables.typesetting import Table

STARTUP_SCHEMA = {
    "rule": pl.String,
    **dict.fromkeys(("seconds", "startup_seconds", "cpu_seconds"), pl.Float64),
}
STARTUP_NOTE = (
    "seconds: of whole jobs, added up, also where jobs ran side by side. startup "
    "seconds: from the start of a job's process until its stage began, that is Python "
    "and the imports; what a stage imports while it runs is the stage's own time. cpu "
    "seconds: of whole jobs. Planning the jobs, and the process that they are forked "
    "from, are not counted."
)


def startup_table(rows: pl.DataFrame) -> Table:
    """What starting the jobs of every rule took, the longest rule first, and of all.

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
