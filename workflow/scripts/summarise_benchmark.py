"""Tabulate how long everything takes relative to bare passes, and how that grows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.benchmark import SCALING, benchmark_table, scaling_table
from circuit_transfer.tables.typesetting import write_table


def summarise_benchmark(
    measured_paths: Sequence[Path | str],
    scaling_paths: Sequence[Path | str],
    ratios_paths: Iterable[Path | str],
    slopes_paths: Iterable[Path | str],
) -> None:
    """Read the measurements of all benchmarks, write one path per format.

    Args:
        measured_paths: of every benchmark, at least one.
        scaling_paths: of those that vary something.
        ratios_paths: where the ratios go.
        slopes_paths: where the slopes go.
    """
    columns = ["benchmark", "case", "seconds", "forward_seconds"]
    measured = [read_frame(path, columns) for path in measured_paths]
    title = "Time and memory relative to bare passes"
    write_table(benchmark_table(pl.concat(measured)), *ratios_paths, title=title)
    grown = [read_frame(path, [*columns, "axis"]) for path in scaling_paths]
    table = scaling_table(pl.concat([pl.DataFrame(schema=SCALING), *grown]))
    title = "How seconds grow with size"
    write_table(table, *slopes_paths, title=title)


if __name__ == "__main__":
    run_stage(summarise_benchmark, snakemake)
