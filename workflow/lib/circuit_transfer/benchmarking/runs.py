"""Whole benchmarks: of one model, and of models and loads of growing size."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import polars as pl
from torch import nn

from circuit_transfer.benchmarking.cases import bare_passes, cases, random_pairs
from circuit_transfer.benchmarking.entries import (
    ALL_CIRCUITS,
    LOAD,
    ONE_CIRCUIT,
    Load,
    Shape,
    resized,
)
from circuit_transfer.benchmarking.measure import measure
from circuit_transfer.jobs.progress import progress

log = logging.getLogger(__name__)

# Axes that affect a single computation, and the name of that computation.
EVALUATED = {"sizes": ONE_CIRCUIT, "circuits": ALL_CIRCUITS}


def run_benchmark(model: nn.Module, load: Load, repetitions: int) -> pl.DataFrame:
    """Measure a model without a shared prefix and with one of half the tokens.

    Returns:
        The columns of `LOAD`, then those of `measure`.
    """
    frames = []
    prefixes = (0, load.positions // 2)
    for shared in progress(prefixes, len(prefixes), "prefix"):
        of_load = replace(load, shared=shared)
        labels = {name: getattr(of_load, name) for name in LOAD}
        log.info("measuring with %s", labels)
        frames.append(_labelled(_measured(model, of_load, repetitions), labels))
    return pl.concat(frames)


def run_scaling(
    make_model: Callable[[Shape | None], nn.Module],
    shape: Shape | None,
    load: Load,
    axes: Mapping[str, Sequence[int]],
    repetitions: int,
) -> pl.DataFrame:
    """Measure models and loads of different sizes along one axis at a time.

    Args:
        make_model: returns the model of a shape.
        shape: the shape on all other axes; None for a model with given weights.
        load: the load on all other axes.
        axes: the values of `examples`, `positions`, `layers`, `heads`, `sizes` and
            `circuits`; along the last two only the evaluation of circuits is measured.
        repetitions: number of measurements.

    Returns:
        The columns `axis` and `value`, then those of `measure`.

    Raises:
        ValueError: an axis is unknown.
    """
    frames = []
    places = [(axis, value) for axis, values in axes.items() for value in values]
    for axis, value in progress(places, len(places), "size"):
        log.info("%s: %d", axis, value)
        of_shape, of_load = resized(shape, load, axis, value)
        only = EVALUATED.get(axis)
        frame = _measured(make_model(of_shape), of_load, repetitions, only)
        frames.append(_labelled(frame, {"axis": axis, "value": value}))
    return pl.concat(frames)


def _measured(
    model: nn.Module, load: Load, repetitions: int, only: str | None = None
) -> pl.DataFrame:
    """Measure all computations on a load, or `only` that of the given name."""
    batch = random_pairs(load, model.config.vocab_size, model.device)
    wanted = [case for case in cases(model, batch, load) if only in (None, case.name)]
    return measure(
        model,
        bare_passes(model, batch),
        wanted,
        tokens=load.examples * load.positions,
        repetitions=repetitions,
    )


def _labelled(frame: pl.DataFrame, labels: Mapping[str, int | str]) -> pl.DataFrame:
    """Prepend constant columns to a frame."""
    return pl.DataFrame([labels] * len(frame)).hstack(frame)
