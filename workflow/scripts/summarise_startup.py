"""Add up how long the jobs of a study took to start, by rule."""

import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from circuit_transfer.jobs.job import job, read_startup
from circuit_transfer.tables.startup import STARTUP_SCHEMA, startup_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def summarise_startup(
    benchmarks_path: Path | str,
    logs_path: Path | str,
    table_paths: Iterable[Path | str],
) -> None:
    """Read the benchmark and the log of every job, and write what they come to.

    Args:
        benchmarks_path: the folder of what Snakemake has measured, `{rule}.tsv` or
            `{rule}/{name}/{name}.tsv`.
        logs_path: the folder of the logs, with the same names as `.log`.
        table_paths: one path per format.

    Raises:
        FileNotFoundError: a job has a benchmark and no log.
        ValueError: a log is not that of a finished job.
    """
    rows = []
    for benchmark in sorted(Path(benchmarks_path).rglob("*.tsv")):
        name = benchmark.relative_to(benchmarks_path).with_suffix("")
        startup, cpu = read_startup(Path(logs_path, f"{name}.log"))
        seconds = pl.read_csv(benchmark, separator="\t", columns=["s"])["s"].sum()
        rows.append((name.parts[0], seconds, startup, cpu))
    log.info("%d jobs", len(rows))
    table = startup_table(pl.DataFrame(rows, schema=STARTUP_SCHEMA, orient="row"))
    write_table(table, *table_paths, title="What starting the jobs has taken")


if __name__ == "__main__":
    with job(snakemake.log[0]):
        summarise_startup(
            snakemake.params.benchmarks,
            snakemake.params.logs,
            snakemake.output,
        )
