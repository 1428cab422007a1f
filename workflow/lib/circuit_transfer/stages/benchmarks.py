"""What the measurements of a benchmark share: the model, and how they are written."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.benchmarking.cases import random_model
from circuit_transfer.benchmarking.entries import Shape
from circuit_transfer.benchmarking.measure import machine
from circuit_transfer.jobs.job import pick_device
from circuit_transfer.models.loading import load_described

log = logging.getLogger(__name__)


def benchmarked_model(
    model_path: Path | str | None, entry: Mapping[str, Any], shape: Shape | None = None
) -> nn.Module:
    """Return the model of a description, or without one a random one of a shape.

    Args:
        model_path: the description.
        entry: of the benchmark in the configuration.
        shape: another than the entry's.
    """
    if model_path:
        return load_described(read_description(model_path))
    shape = shape or Shape(**entry["shape"])
    return random_model(shape, entry["dtype"], pick_device())


def write_measured(
    measured: pl.DataFrame, path: Path | str, *, benchmark: str, model: nn.Module
) -> None:
    """Write measurements with the names of the benchmark and of the machine."""
    labels = {"benchmark": benchmark, "machine": machine(model)}
    log.info("%s on %s", benchmark, labels["machine"])
    named = {key: pl.lit(value) for key, value in labels.items()}
    write_frame(measured.with_columns(**named), path)
