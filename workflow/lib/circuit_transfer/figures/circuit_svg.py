"""The drawing of a circuit as SVG, whose edges show their scores on hovering."""

from collections.abc import Iterator, Sequence
from html import escape

from circuit_transfer.figures.circuit_nodes import Box
from circuit_transfer.figures.circuit_parts import (
    DASHES,
    LABEL_SIZE,
    PALE,
    PORT_SIZE,
    Drawing,
    Line,
    Point,
    Text,
)

# Of the line around an edge on which a pointer shows its title.
REACH = 9.0
STYLE = """\
.circuit text { fill: #222; }
.circuit .reach { stroke: #000; stroke-opacity: 0; pointer-events: stroke; }
.circuit:has(.edge:hover) .edge:not(:hover) { opacity: .15; }
"""


def circuit_svg(drawing: Drawing) -> str:
    """Return a drawing as an SVG element, which is a file and part of a page alike.

    It has no identifiers, so that several are on one page.
    """
    width, height = _number(drawing.width), _number(drawing.height)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="circuit" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(drawing.title)}" '
            'font-family="DejaVu Sans, Verdana, Arial, sans-serif">',
            f"<style>\n{STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *_parts(drawing),
            "</svg>\n",
        ]
    )


def _parts(drawing: Drawing) -> Iterator[str]:
    for high, low in drawing.bands:
        size = f'width="{_number(drawing.width)}" height="{_number(low - high)}"'
        yield f'<rect y="{_number(high)}" {size} fill="#f3f3f3"/>'
    for line in (*drawing.links, *drawing.samples):
        yield _path(line.points, _style(line))
    for line in drawing.edges:
        yield _edge(line)
    for box in drawing.boxes:
        yield from _box(box)
    for text in drawing.texts:
        yield _text(text)


def _edge(line: Line) -> str:
    reach = f'class="reach" stroke-width="{_number(max(REACH, line.width))}"'
    title = f"<title>{escape(line.title)}</title>"
    lines = _path(line.points, _style(line)) + _path(line.points, reach)
    return f'<g class="edge" fill="none">{title}{lines}</g>'


def _path(points: Sequence[Point], style: str) -> str:
    first, *rest = (f"{_number(x)} {_number(y)}" for x, y in points)
    return f'<path d="M{first}C{" ".join(rest)}" {style}/>'


def _style(line: Line) -> str:
    style = f'fill="none" stroke="{line.colour}" stroke-width="{line.width:g}"'
    if line.dashed:
        style += f' stroke-dasharray="{" ".join(f"{each:g}" for each in DASHES)}"'
    return style + (f' stroke-opacity="{PALE:g}"' if line.pale else "")


def _box(box: Box) -> Iterator[str]:
    places = {"x": box.x - box.width / 2, "y": box.top}
    places |= {"width": box.width, "height": box.height}
    size = " ".join(f'{name}="{_number(value)}"' for name, value in places.items())
    colour = "#bbb" if box.pale else "#444"
    yield f'<rect {size} rx="3" fill="#fff" stroke="{colour}"/>'
    middle = ' text-anchor="middle"'
    label = Text(box.x, box.label_y, box.name, LABEL_SIZE)
    yield _text(label, middle)
    for kind, x in box.ports.items():
        yield _text(Text(x, box.bottom - 2.5, kind, PORT_SIZE), middle)


def _text(text: Text, how: str = "") -> str:
    place = f'x="{_number(text.x)}" y="{_number(text.y)}" font-size="{text.size:g}"'
    weight = ' font-weight="bold"' if text.bold else ""
    return f"<text {place}{weight}{how}>{escape(text.text)}</text>"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
