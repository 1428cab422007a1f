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
    grown,
)
from circuit_transfer.benchmarking.measure import measure

log = logging.getLogger(__name__)

# Axes that nothing else grows along, and what does.
EVALUATED = {"sizes": ONE_CIRCUIT, "circuits": ALL_CIRCUITS}


def run_benchmark(model: nn.Module, load: Load, repetitions: int) -> pl.DataFrame:
    """Measure a model on prompts that share no leading tokens, and that share half.

    Returns:
        The columns of `measure`, after those of `LOAD`.
    """
    frames = []
    for shared in (0, load.positions // 2):
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
    """Measure models and loads that grow along one axis at a time.

    Args:
        make_model: makes the model of a shape.
        shape: the model's shape elsewhere, None where it has its own.
        load: the load elsewhere.
        axes: values of `examples`, `positions`, `layers`, `heads`, `sizes` and
            `circuits`; along the last two only what evaluates them is measured.
        repetitions: how often everything is measured.

    Returns:
        The columns of `measure`, after `axis` and `value`.

    Raises:
        ValueError: an axis is unknown.
    """
    frames = []
    places = [(axis, value) for axis, values in axes.items() for value in values]
    for axis, value in places:
        log.info("%s: %d", axis, value)
        of_shape, of_load = grown(shape, load, axis, value)
        only = EVALUATED.get(axis)
        frame = _measured(make_model(of_shape), of_load, repetitions, only)
        frames.append(_labelled(frame, {"axis": axis, "value": value}))
    return pl.concat(frames)


def _measured(
    model: nn.Module, load: Load, repetitions: int, only: str | None = None
) -> pl.DataFrame:
    """Measure all computations on a load, or `only` the one of that name."""
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
    """Put columns with one value each before a frame's own."""
    return pl.DataFrame([labels] * len(frame)).hstack(frame)
