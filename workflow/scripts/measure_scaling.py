"""Measure how the time of everything grows with the sizes of models and prompts."""

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
from circuit_transfer.benchmarking.runs import run_scaling
from circuit_transfer.jobs.job import job, pick_device
from circuit_transfer.models.loading import load_described

log = logging.getLogger(__name__)


def measure_scaling(
    model_path: Path | str | None,
    measured_path: Path | str,
    *,
    name: str,
    entry: Mapping[str, Any],
    proportions: Sequence[float],
) -> None:
    """Write what the computations took at every size.

    Arguments as in `measure_benchmark`.
    """
    shape = None if model_path else Shape(**entry["shape"])
    loaded = load_described(read_description(model_path)) if model_path else None

    def make_model(of_shape: Shape | None):
        if of_shape is None:
            return loaded
        return random_model(of_shape, entry["dtype"], pick_device())

    measured = run_scaling(
        make_model,
        shape,
        load_of(entry, proportions),
        entry["scaling"],
        entry["repetitions"],
    )
    on = {"benchmark": name, "machine": machine(make_model(shape))}
    log.info("%s on %s", name, on["machine"])
    labels = {key: pl.lit(value) for key, value in on.items()}
    write_frame(measured.with_columns(**labels), measured_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        measure_scaling(
            next(iter(snakemake.input.model), None),
            snakemake.output.measured,
            name=snakemake.wildcards.benchmark,
            entry=snakemake.params.entry,
            proportions=snakemake.params.proportions,
        )
