"""What a benchmark is of, as the configuration has it; without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

# The bare passes that all else is measured in.
FORWARD, FORWARD_BACKWARD = "forward", "forward and backward"
ONE_CIRCUIT, ALL_CIRCUITS = "sizes of one circuit", "sizes of all circuits"
# What tells the measurements of a benchmark apart, and their columns.
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
    """The sizes of a model with random weights; the keys of `shape`."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_mlp: int
    vocabulary: int


@dataclass(frozen=True)
class Load:
    """What the computations are given.

    Attributes:
        examples: number of pairs, all in one batch.
        positions: tokens of a prompt.
        ig_steps: steps of integrated gradients.
        methods: of attribution, those that are measured.
        circuits: rankings of the nodes that are evaluated together.
        proportions: sizes of the circuits, as shares of all nodes.
        shared: leading positions at which both prompts of a pair have the same token.
    """

    examples: int
    positions: int
    ig_steps: int
    methods: Sequence[str]
    circuits: int
    proportions: Sequence[float]
    shared: int = 0


def load_of(entry: Mapping, proportions: Sequence[float]) -> Load:
    """Return the load of an entry, with the circuit sizes of the evaluation."""
    keys = ("examples", "positions", "ig_steps", "methods", "circuits")
    return Load(**{key: entry[key] for key in keys}, proportions=proportions)


def grown(
    shape: Shape | None, load: Load, axis: str, value: int
) -> tuple[Shape | None, Load]:
    """Return a shape and a load that have another size along one axis.

    More heads are narrower; `sizes` lie evenly between none and all nodes. The shape is
    None for a model that has its own.

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
        f"axis {axis!r} is not one of examples, positions, layers, heads, sizes, "
        "circuits"
    )
