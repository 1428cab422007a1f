"""A source's circuit, and the gold and transferred ones of the target, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from circuit_transfer.figures import circuit_legend
from circuit_transfer.figures.circuit_layout import LEFT, graph, links
from circuit_transfer.figures.circuit_nodes import Grid
from circuit_transfer.figures.circuit_parts import (
    AROUND,
    TEXT_SIZE,
    Drawing,
    Line,
    Text,
    widths,
    wrapped,
)
from circuit_transfer.messages import printable
from circuit_transfer.tables.transferred_edges import BOTH, GOLD, SOURCE, TRANSFERRED

NARROWEST = 260.0  # of a panel
BETWEEN = 3 * AROUND
# By the circuits that have an edge: how it is drawn, and what that is called. Of the
# palette of Okabe and Ito; the edges of the transferred circuit alone are dashed too.
LOOKS = {
    BOTH: ({"colour": "#0072B2"}, "in the gold and in the transferred circuit"),
    GOLD: ({"colour": "#E69F00"}, "in the gold circuit alone: missed"),
    TRANSFERRED: (
        {"colour": "#CC79A7", "dashed": True},
        "in the transferred circuit alone",
    ),
    SOURCE: ({"colour": "#777777"}, "of the source, whose edges are others"),
}
NO_SCORES = "No scores: no prompt pairs, or no other task to learn from."


@dataclass(frozen=True)
class Panel:
    """One circuit of the drawing.

    Attributes:
        title: what it is of.
        edges: see `tables.transferred_edges.SCHEMA`; there may be none.
        group: heads that share one reader of keys and one of values; 1 for none.
    """

    title: str
    edges: pl.DataFrame
    group: int = 1


def transferred_circuits(panels: Sequence[Panel], *, title: str) -> Drawing:
    """Return the drawing of circuits side by side, with one legend below them.

    Edges are coloured by the circuits of the target that have them, and as wide as the
    root of their score in their own circuit.

    Args:
        panels: from the left.
        title: of the whole.
    """
    title = printable(title)
    heading = circuit_legend.heading(title, len(panels) * NARROWEST)
    top = heading[-1].y + 2 * AROUND
    drawn, left = [], 0.0
    for panel in panels:
        drawn.append(_panel(panel, left, top))
        left = drawn[-1].width + BETWEEN
    width = drawn[-1].width
    entries = [LOOKS[each] for each in LOOKS if _has(panels, each)]
    text = (
        "All edges lead upwards; q, k, v: queries, keys and values of a head; m0: the "
        "MLP of layer 0. Width grows with the root of the score, in each circuit by "
        "itself. Paler: on no path from input to logits along the edges of the circuit."
    )
    below = {"top": max(each.height for each in drawn) + AROUND, "width": width}
    samples, texts = circuit_legend.legend([*entries, (None, text)], **below)
    parts = {
        name: [part for each in drawn for part in getattr(each, name)]
        for name in ("edges", "links", "boxes", "texts")
    }
    parts["texts"] = [*heading, *parts["texts"], *texts]
    height = texts[-1].y + AROUND
    return Drawing(title, width, height, **parts, samples=samples)


def _has(panels: Sequence[Panel], circuits: str) -> bool:
    return any(circuits in panel.edges["circuits"] for panel in panels)


def _panel(panel: Panel, left: float, top: float) -> Drawing:
    """Return one circuit, whose width and height are where it ends."""
    lines = wrapped(printable(panel.title), TEXT_SIZE, NARROWEST)
    step = TEXT_SIZE * circuit_legend.LEADING
    titles = [
        Text(left + AROUND, top + number * step, line, bold=True)
        for number, line in enumerate(lines)
    ]
    below = titles[-1].y + 2 * AROUND
    if panel.edges.is_empty():
        text = Text(left + AROUND, below, NO_SCORES)
        return Drawing("", left + NARROWEST, below + AROUND, texts=[*titles, text])
    grid, boxes, curves = graph(panel.edges, panel.group, left=left + LEFT, top=below)
    return Drawing(
        title="",
        width=max(left + NARROWEST, grid.right + AROUND),
        height=grid.bottom + AROUND,
        edges=[*_lines(panel.edges, curves)][::-1],
        links=[*links(boxes, panel.group)],
        boxes=[*boxes.values()],
        texts=[*titles, *_layer_names(grid, left)],
    )


def _layer_names(grid: Grid, left: float) -> Iterator[Text]:
    for text in circuit_legend.layer_names(grid):
        yield replace(text, x=text.x + left)


def _lines(edges: pl.DataFrame, curves: Sequence) -> Iterator[Line]:
    wide = widths(edges["score"].to_numpy()).round(2).tolist()
    rows = edges.iter_rows(named=True)
    for row, points, width in zip(rows, curves, wide, strict=True):
        style, where = LOOKS[row["circuits"]]
        title = f"{row['edge']}: {row['score']:.3g}, rank {row['rank']}, {where}"
        yield Line(points, width, **style, pale=not row["effective"], title=title)
