"""Measure how the time of everything grows with the sizes of models and prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from circuit_transfer.benchmarking.entries import Shape, load_of
from circuit_transfer.benchmarking.runs import run_scaling
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.benchmarks import benchmarked_model, write_measured


def measure_scaling(
    measured_path: Path | str,
    *,
    benchmark: str,
    entry: Mapping[str, Any],
    proportions: Sequence[float],
    model_path: Path | str | None = None,
) -> None:
    """Write what the computations took at every size.

    Arguments as in `measure_benchmark`.
    """
    shape = None if model_path else Shape(**entry["shape"])
    # A random one is built for each size, and in memory only while it is measured.
    loaded = benchmarked_model(model_path, entry) if model_path else None

    def of_shape(other: Shape | None) -> nn.Module:
        return loaded or benchmarked_model(None, entry, other)

    axes, repetitions = entry["scaling"], entry["repetitions"]
    load = load_of(entry, proportions)
    measured = run_scaling(of_shape, shape, load, axes, repetitions)
    model = of_shape(shape)
    write_measured(measured, measured_path, benchmark=benchmark, model=model)


if __name__ == "__main__":
    run_stage(measure_scaling, snakemake)
