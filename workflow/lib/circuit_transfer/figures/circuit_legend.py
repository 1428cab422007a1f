"""The texts around the drawing of a circuit: heading, layers, and what lines mean."""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from circuit_transfer.figures.circuit_nodes import BOX_HEIGHT, LAST, Grid
from circuit_transfer.figures.circuit_parts import (
    AROUND,
    NEUTRAL,
    OPPOSES,
    SUPPORTS,
    TEXT_SIZE,
    TITLE_SIZE,
    Line,
    Text,
    wrapped,
)
from circuit_transfer.tables.top_nodes import decimals_of

# Above which a drawing is not legible.
LEGIBLE = 300
SAMPLE = 30.0  # length of a line of the legend
LEADING = 1.4
Entry = tuple[dict[str, Any] | None, str]
LEARNED = "The scores are learned: they rank the edges, and have no sign."


def heading(title: str, width: float) -> list[Text]:
    """Return the lines of the title."""
    lines = wrapped(title, TITLE_SIZE, width - 2 * AROUND)
    step = TITLE_SIZE * LEADING
    return [
        Text(AROUND, AROUND + number * step, line, TITLE_SIZE, bold=True)
        for number, line in enumerate(lines, start=1)
    ]


def layers(grid: Grid) -> dict[int, tuple[int, int]]:
    """Return the lowest and the highest row of every layer that is drawn."""
    found: dict[int, tuple[int, int]] = {}
    for row, (layer, _) in enumerate(grid.rows):
        if 0 <= layer < LAST:
            found[layer] = (found.get(layer, (row, row))[0], row)
    return found


def bands(grid: Grid) -> list[tuple[float, float]]:
    """Return the upper and the lower side of every second layer that is drawn."""
    return [
        (
            grid.row_y(high) - BOX_HEIGHT / 2 - AROUND,
            grid.row_y(low) + BOX_HEIGHT / 2 + AROUND,
        )
        for low, high in [*layers(grid).values()][::2]
    ]


def layer_names(grid: Grid) -> list[Text]:
    """Return the names of the layers, left of their rows."""
    return [
        Text(
            AROUND,
            (grid.row_y(low) + grid.row_y(high) + TEXT_SIZE) / 2,
            f"layer {layer}",
        )
        for layer, (low, high) in layers(grid).items()
    ]


def legend(
    entries: Iterable[Entry], *, top: float, width: float
) -> tuple[list[Line], list[Text]]:
    """Return the sample lines and the texts below the graph.

    Args:
        entries: the style of a sample line, if there is one, and its text.
        top: where it starts.
        width: of the drawing.
    """
    samples, texts, y = [], [], top
    for sample, text in entries:
        left = AROUND + (0 if sample is None else SAMPLE + AROUND)
        lines = wrapped(text, TEXT_SIZE, width - left - AROUND)
        if sample is not None:
            middle = y + TEXT_SIZE * 0.65
            ends = [(AROUND + SAMPLE * share, middle) for share in (0, 1 / 3, 2 / 3, 1)]
            samples.append(Line(ends, 3.0, **sample))
        for line in lines:
            y += TEXT_SIZE * LEADING
            texts.append(Text(left, y - TEXT_SIZE * 0.4, line))
    return samples, texts


def entries(edges: pl.DataFrame, shared: bool) -> Iterator[Entry]:
    """Yield what is said below the graph, see `legend`.

    Args:
        edges: the edges that are drawn.
        shared: whether heads share readers of keys and values.
    """
    signed = is_signed(edges)
    if signed:
        yield {"colour": SUPPORTS}, "supports the right answer (positive score)"
    if signed and (edges["score"] < 0).any():
        text = "opposes the right answer (negative score)"
        yield {"colour": OPPOSES, "dashed": True}, text
    if dangling := len(edges) - edges["effective"].sum():
        yield (
            {"colour": SUPPORTS if signed else NEUTRAL, "pale": True},
            f"paler: {dangling:,} of {len(edges):,} edges, which are on no path from "
            "input to logits along these edges alone",
        )
    yield (
        None,
        f"{_scores(edges) if signed else LEARNED} All edges lead "
        "upwards; q, k, v: queries, keys and values of a head; m0: the MLP of layer 0. "
        "Only nodes with an edge are drawn.",
    )
    if shared:
        yield (
            None,
            "a0.kv1: keys and values that the heads above it share (grey lines).",
        )
    if len(edges) > LEGIBLE:
        yield None, f"Drawings of over {LEGIBLE:,} edges are not legible; draw fewer."


def is_signed(edges: pl.DataFrame) -> bool:
    """Return whether the scores of edges have a sign, as learned ones do not."""
    return edges["sign"].is_not_null().any()


def _scores(edges: pl.DataFrame) -> str:
    sizes = edges["score"].abs()
    decimals = decimals_of(sizes.max())
    return (
        "Width grows with the root of the absolute score, "
        f"{sizes.min():.{decimals}f} to {sizes.max():.{decimals}f}."
    )
