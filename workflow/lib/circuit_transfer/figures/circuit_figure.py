"""The drawing of a circuit as a figure, for PDF and PNG files."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from circuit_transfer.figures import style  # noqa: F401 (fonts of a PDF)
from circuit_transfer.figures.circuit_nodes import Box
from circuit_transfer.figures.circuit_parts import (
    DASHES,
    LABEL_SIZE,
    PALE,
    PORT_SIZE,
    Drawing,
    Line,
)

POINTS = 72.0  # of an inch
TEXT = "#222222"


def circuit_figure(drawing: Drawing) -> Figure:
    """Return a drawing as a figure of its size, a pixel being a point."""
    figure = Figure(figsize=(drawing.width / POINTS, drawing.height / POINTS))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for high, low in drawing.bands:
        axes.add_patch(
            Rectangle(
                (0, high), drawing.width, low - high, color="#f3f3f3", linewidth=0
            )
        )
    for line in (*drawing.links, *drawing.samples, *drawing.edges):
        axes.add_patch(_patch(line))
    for box in drawing.boxes:
        _draw_box(axes, box)
    for text in drawing.texts:
        weight = "bold" if text.bold else "normal"
        axes.text(text.x, text.y, text.text, size=text.size, weight=weight, color=TEXT)
    return figure


def _patch(line: Line) -> PathPatch:
    codes = [Path.MOVETO] + [Path.CURVE4] * (len(line.points) - 1)
    return PathPatch(
        Path(line.points, codes),
        fill=False,
        edgecolor=line.colour,
        linewidth=line.width,
        # Dashes are multiples of the width otherwise.
        linestyle=(0, [each / line.width for each in DASHES]) if line.dashed else "-",
        alpha=PALE if line.pale else None,
        capstyle="butt",
    )


def _draw_box(axes: Axes, box: Box) -> None:
    corner = (box.x - box.width / 2, box.top)
    colour = "#bbbbbb" if box.pale else "#444444"
    how = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.0}
    # Above all lines.
    axes.add_patch(Rectangle(corner, box.width, box.height, zorder=2, **how))
    middle = {"ha": "center", "color": TEXT}
    axes.text(box.x, box.label_y, box.name, size=LABEL_SIZE, **middle)
    for kind, x in box.ports.items():
        axes.text(x, box.bottom - 2.5, kind, size=PORT_SIZE, **middle)
