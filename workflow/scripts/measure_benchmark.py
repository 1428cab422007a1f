"""Measure time and memory of everything relative to bare passes of one model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.benchmarking.entries import load_of
from circuit_transfer.benchmarking.runs import run_benchmark
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.benchmarks import benchmarked_model, write_measured


def measure_benchmark(
    measured_path: Path | str,
    *,
    benchmark: str,
    entry: Mapping[str, Any],
    proportions: Sequence[float],
    model_path: Path | str | None = None,
) -> None:
    """Write what the computations on one model took.

    Args:
        measured_path: where the measurements go.
        benchmark: its name.
        entry: of the benchmark in the configuration.
        proportions: sizes of the circuits.
        model_path: description of the model; without one it has random weights.
    """
    model = benchmarked_model(model_path, entry)
    measured = run_benchmark(model, load_of(entry, proportions), entry["repetitions"])
    write_measured(measured, measured_path, benchmark=benchmark, model=model)


if __name__ == "__main__":
    run_stage(measure_benchmark, snakemake)
