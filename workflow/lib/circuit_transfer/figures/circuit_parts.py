"""What the drawing of a circuit of edges consists of: lines, boxes and texts.

Lengths are pixels in SVG and points in a PDF, and y grows downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from circuit_transfer.figures.circuit_nodes import Box

# As in the maps of nodes: red and blue, which all types of colour vision distinguish.
SUPPORTS, OPPOSES, NEUTRAL, LINK = "#b2182b", "#2166ac", "#777777", "#aaaaaa"
THINNEST, THICKEST = 0.6, 5.0
# Opacity of what is drawn paler, and the lengths of dashes and gaps.
PALE = 0.3
DASHES = (5.0, 3.0)
AROUND = 10.0
TITLE_SIZE, TEXT_SIZE, LABEL_SIZE, PORT_SIZE = 12.0, 9.0, 10.0, 8.0
# Of the width of a letter to its height: that of wide fonts.
BROAD = 0.62

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """An edge, a link, or a line of the legend.

    Attributes:
        points: control points of cubic Bézier curves, the last point of each being the
            first of the next.
        width: of the line.
        colour: of the line.
        dashed: whether it is dashed: the edge opposes the right answer.
        pale: whether it is drawn paler: the edge is not effective.
        title: what is shown when the pointer is on it.
    """

    points: Sequence[Point]
    width: float
    colour: str
    dashed: bool = False
    pale: bool = False
    title: str = ""


@dataclass(frozen=True)
class Text:
    """A text that starts at a point on its base line."""

    x: float
    y: float
    text: str
    size: float = TEXT_SIZE
    bold: bool = False


@dataclass(frozen=True)
class Drawing:
    """All that is drawn.

    Attributes:
        title: what it shows.
        width: of the whole.
        height: of the whole.
        edges: the weakest first, so that the strongest are drawn over them.
        links: from keys and values to the heads that share them.
        boxes: of the nodes.
        bands: the layers with a background, as y of upper and lower side.
        texts: heading, names of the layers, legend.
        samples: the lines of the legend.
    """

    title: str
    width: float
    height: float
    edges: Sequence[Line] = ()
    links: Sequence[Line] = ()
    boxes: Sequence[Box] = ()
    bands: Sequence[tuple[float, float]] = ()
    texts: Sequence[Text] = ()
    samples: Sequence[Line] = ()


def widths(scores: np.ndarray) -> np.ndarray:
    """Return the widths of lines `(n,)`: they grow with the root of the score's size.

    As the colours in maps of nodes do: one edge often has a score several times that of
    any other.
    """
    sizes = np.sqrt(np.abs(scores))
    return THINNEST + (THICKEST - THINNEST) * sizes / (sizes.max() or 1.0)


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Return the lines of a text of a font size that are at most `width` long."""
    return wrap(text, int(width / (BROAD * size))) or [""]
