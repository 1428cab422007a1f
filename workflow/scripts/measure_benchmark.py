"""Measure how long everything takes beside bare passes of one model, and its memory."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.benchmarking.cases import random_model
from circuit_transfer.benchmarking.entries import Shape, load_of
from circuit_transfer.benchmarking.measure import machine
from circuit_transfer.benchmarking.runs import run_benchmark
from circuit_transfer.jobs.job import job, pick_device
from circuit_transfer.models.loading import load_described

log = logging.getLogger(__name__)


def measure_benchmark(
    model_path: Path | str | None,
    measured_path: Path | str,
    *,
    name: str,
    entry: Mapping[str, Any],
    proportions: Sequence[float],
) -> None:
    """Write what the computations on one model took.

    Args:
        model_path: description of the model; None for one with random weights.
        measured_path: where the measurements go.
        name: of the benchmark.
        entry: of the benchmark in the configuration.
        proportions: sizes of the circuits.
    """
    if model_path:
        model = load_described(read_description(model_path))
    else:
        model = random_model(Shape(**entry["shape"]), entry["dtype"], pick_device())
    on = {"benchmark": name, "machine": machine(model)}
    log.info("%s on %s", name, on["machine"])
    measured = run_benchmark(model, load_of(entry, proportions), entry["repetitions"])
    labels = {key: pl.lit(value) for key, value in on.items()}
    write_frame(measured.with_columns(**labels), measured_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        measure_benchmark(
            next(iter(snakemake.input.model), None),
            snakemake.output.measured,
            name=snakemake.wildcards.benchmark,
            entry=snakemake.params.entry,
            proportions=snakemake.params.proportions,
        )
