"""The model and the load of a benchmark as configured; without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

# Bare passes of the model, the units in which costs are expressed.
FORWARD, FORWARD_BACKWARD = "forward", "forward and backward"
ONE_CIRCUIT, ALL_CIRCUITS = "sizes of one circuit", "sizes of all circuits"
EDGE_CIRCUITS, WHOLE_EDGE_CIRCUIT = "sizes of one circuit of edges", "all edges"
EXACT_EDGES = "single edges ablated"
PRUNING_STEP = "a step of edge-pruning"
EDGE_MAP_STEP = "a step of a map of edges"
# The columns that identify a load, and those of the measurements.
LOAD = ("examples", "positions", "shared", "circuits")
MEASURED = {
    "case": pl.String,
    "repetition": pl.Int64,
    "seconds": pl.Float64,
    "forward_seconds": pl.Float64,
    "forward_backward_seconds": pl.Float64,
    "ideal_forwards": pl.Float64,
    "ideal_forward_backwards": pl.Float64,
    "run_forwards": pl.Float64,
    "run_forward_backwards": pl.Float64,
    "limit": pl.Float64,
    "peak_bytes": pl.Int64,
    "memory_limit": pl.Float64,
}


@dataclass(frozen=True)
class Shape:
    """The sizes of a model with random weights: the keys of `shape`."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_mlp: int
    vocabulary: int


@dataclass(frozen=True)
class Load:
    """The input of the measured computations.

    Attributes:
        examples: number of pairs, all in one batch.
        positions: number of tokens of a prompt.
        ig_steps: steps of integrated gradients.
        methods: the attribution methods to measure.
        circuits: number of node rankings that are evaluated together.
        proportions: circuit sizes as shares of all nodes.
        shared: length of the prefix that both prompts of a pair share.
        edge_methods: the methods of edges to measure; with one, circuits of edges too.
    """

    examples: int
    positions: int
    ig_steps: int
    methods: Sequence[str]
    circuits: int
    proportions: Sequence[float]
    shared: int = 0
    edge_methods: Sequence[str] = ()


def load_of(entry: Mapping, proportions: Sequence[float]) -> Load:
    """Return the load of a benchmark's entry, with the circuit sizes of the study."""
    keys = ("examples", "positions", "ig_steps", "methods", "edge_methods", "circuits")
    return Load(**{key: entry[key] for key in keys}, proportions=proportions)


def resized(
    shape: Shape | None, load: Load, axis: str, value: int
) -> tuple[Shape | None, Load]:
    """Return shape and load with another size along one axis.

    The model width is constant, so more heads are narrower; `sizes` are evenly spaced
    between no and all nodes.

    Args:
        shape: sizes of a random model; None for a model with given weights.
        load: the load.
        axis: the axis to change.
        value: its new size.

    Raises:
        ValueError: the axis is unknown.
    """
    if axis == "layers":
        return replace(shape, layers=value), load
    if axis == "heads":
        heads = {"heads": value, "kv_heads": min(value, shape.kv_heads)}
        return replace(shape, **heads), load
    if axis == "sizes":
        sizes = [size / (value + 1) for size in range(1, value + 1)]
        return shape, replace(load, proportions=sizes)
    if axis in ("examples", "positions", "circuits"):
        return shape, replace(load, **{axis: value})
    raise ValueError(
        f"unknown axis {axis!r}: expected examples, positions, layers, heads, sizes or "
        "circuits"
    )
