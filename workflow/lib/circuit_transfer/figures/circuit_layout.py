"""The drawing of a circuit of edges: a graph in layers, from `input` up to `logits`."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import polars as pl

from circuit_transfer.figures import circuit_legend
from circuit_transfer.figures.circuit_nodes import (
    Box,
    Grid,
    boxes_of,
    grid_of,
    reader_node,
)
from circuit_transfer.figures.circuit_parts import (
    AROUND,
    LINK,
    NEUTRAL,
    OPPOSES,
    SUPPORTS,
    TEXT_SIZE,
    THINNEST,
    Drawing,
    Line,
    Point,
    Text,
    widths,
    wrapped,
)
from circuit_transfer.figures.circuit_routes import Ends, routes, s_curve
from circuit_transfer.messages import printable
from circuit_transfer.tables.top_nodes import decimals_of

# Of which no drawing is made.
MOST = 2000
LEFT = 60.0  # of the graph: the names of the layers stand there
NARROWEST = 420.0
PLAIN = 1.5  # width of lines that all look the same
NO_SCORES = "No scores: no prompt pair of the task can be used with this model."


def circuit_drawing(edges: pl.DataFrame, *, title: str, group: int = 1) -> Drawing:
    """Return the drawing of a circuit; of no edge, or too many, only a message.

    Args:
        edges: its edges, see `tables.circuit_edges.CIRCUIT`.
        title: what it is of.
        group: heads that share one reader of keys and one of values; 1 for none.
    """
    # No format can show control characters.
    title = printable(title)
    if edges.is_empty():
        return _message(title, NO_SCORES)
    if len(edges) > MOST:
        text = f"{len(edges):,} edges are too many to draw, at most {MOST:,} are drawn."
        return _message(title, f"{text} The table (CSV) lists all of them.")
    heading = circuit_legend.heading(title, NARROWEST)
    top = heading[-1].y + 2 * AROUND
    grid, boxes, curves = graph(edges, group, left=LEFT, top=top)
    width = max(NARROWEST, grid.right + AROUND)
    entries = circuit_legend.entries(edges, shared=group > 1)
    below_graph = {"top": grid.bottom + 2 * AROUND, "width": width}
    samples, below = circuit_legend.legend(entries, **below_graph)
    return Drawing(
        title=title,
        width=width,
        height=below[-1].y + AROUND,
        edges=_lines(edges, curves)[::-1],
        links=[*links(boxes, group)],
        boxes=[*boxes.values()],
        bands=circuit_legend.bands(grid),
        texts=[*heading, *circuit_legend.layer_names(grid), *below],
        samples=samples,
    )


def graph(
    edges: pl.DataFrame, group: int, *, left: float, top: float
) -> tuple[Grid, dict[str, Box], list[list[Point]]]:
    """Return the grid, the boxes and the curves of the edges, see `routes`.

    Args:
        edges: its edges, see `tables.circuit_edges.CIRCUIT`, at least one.
        group: heads that share one reader of keys and one of values; 1 for none.
        left: where the columns start.
        top: where the first row from above starts.
    """
    ends = [
        Ends(writer, *reader_node(reader, group))
        for writer, reader in edges.select("writer", "reader").iter_rows()
    ]
    kinds: dict[str, set[str]] = {}
    connected: set[str] = set()
    for each, kept in zip(ends, edges["effective"], strict=True):
        for name, kind in ((each.writer, ""), (each.reader, each.kind)):
            kinds.setdefault(name, set()).update({kind} - {""})
            connected |= {name} if kept else set()
    names = sorted(kinds)
    grid = grid_of(names, group, edges=len(ends), left=left, top=top)
    how = {"group": group, "kinds": kinds, "effective": connected}
    return routes(ends, grid, partial(boxes_of, names, **how))


def _lines(edges: pl.DataFrame, curves: Sequence[Sequence[Point]]) -> list[Line]:
    decimals = decimals_of(edges["score"].abs().max())
    signed = circuit_legend.is_signed(edges)
    # No widths, and no colours, where the scores rank and no more.
    wide = [PLAIN] * len(edges)
    if signed:
        wide = widths(edges["score"].to_numpy()).round(2).tolist()
    rows = edges.select("writer", "reader", "score", "rank", "effective").iter_rows()
    found = []
    for row, points, width in zip(rows, curves, wide, strict=True):
        writer, reader, score, rank, kept = row
        title = f"{writer} -> {reader}: {score:+.{decimals}f}, rank {rank}"
        sign = score if signed else 0
        style = {"dashed": sign < 0, "pale": not kept, "title": title}
        found.append(Line(points, width, _colour(sign), **style))
    return found


def _colour(score: float) -> str:
    return NEUTRAL if score == 0 else SUPPORTS if score > 0 else OPPOSES


def links(boxes: Mapping[str, Box], group: int) -> Iterator[Line]:
    """Yield lines from keys and values to those of their heads that are drawn."""
    for box in boxes.values():
        layer, _, number = box.name.partition(".kv")
        first = int(number) * group if number else 0
        for head in range(first, first + group) if number else ():
            if own := boxes.get(f"{layer}.h{head}"):
                points = s_curve((box.x, box.top), (own.x, own.bottom))
                yield Line(points, THINNEST, LINK)


def _message(title: str, text: str) -> Drawing:
    """Return a drawing of its title and a text alone."""
    heading = circuit_legend.heading(title, NARROWEST)
    y = heading[-1].y + 2 * AROUND
    lines = wrapped(text, TEXT_SIZE, NARROWEST - 2 * AROUND)
    texts = [
        Text(AROUND, y + number * 1.4 * TEXT_SIZE, line)
        for number, line in enumerate(lines)
    ]
    return Drawing(title, NARROWEST, texts[-1].y + AROUND, texts=[*heading, *texts])
