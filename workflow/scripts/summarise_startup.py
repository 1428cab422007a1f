"""Add up how long the jobs of a study took to start, by rule."""

import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from circuit_transfer.jobs.job import read_startup
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.startup import STARTUP_SCHEMA, startup_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def summarise_startup(
    table_paths: Iterable[Path | str],
    *,
    benchmarks: Path | str,
    logs: Path | str,
) -> None:
    """Read the benchmark and the log of every job, and write what they come to.

    Args:
        table_paths: one path per format.
        benchmarks: the folder of what Snakemake has measured, `{rule}.tsv` or
            `{rule}/{name}/{name}.tsv`.
        logs: the folder of the logs, with the same names as `.log`.

    Raises:
        FileNotFoundError: a job has a benchmark and no log.
        ValueError: a log is not that of a finished job.
    """
    rows = []
    for benchmark in sorted(Path(benchmarks).rglob("*.tsv")):
        name = benchmark.relative_to(benchmarks).with_suffix("")
        startup, cpu = read_startup(Path(logs, f"{name}.log"))
        seconds = pl.read_csv(benchmark, separator="\t", columns=["s"])["s"].sum()
        rows.append((name.parts[0], seconds, startup, cpu))
    log.info("%d jobs", len(rows))
    table = startup_table(pl.DataFrame(rows, schema=STARTUP_SCHEMA, orient="row"))
    write_table(table, *table_paths, title="What starting the jobs has taken")


if __name__ == "__main__":
    run_stage(summarise_startup, snakemake)
