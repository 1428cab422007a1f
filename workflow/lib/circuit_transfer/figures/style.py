"""Colours, fonts, panels and output of all figures."""

import logging
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.jobs.progress import activity
from circuit_transfer.tables.typesetting import EXAGGERATION

log = logging.getLogger(__name__)
# fontTools logs every step of embedding a font in a PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

# The palette of Okabe and Ito, suitable for all types of colour vision.
COLOURS = {
    "gold": "#000000",
    "in-distribution": "#0072B2",
    "near-distribution": "#009E73",
    "zero-shot": "#D55E00",
    "zero-shot-family": "#56B4E9",
    "zero-shot(-family)": "#56B4E9",
    "best": "#CC79A7",
    "all": "#E69F00",
    "random": "#999999",
}
MISSING = "#dddddd"
MANY_CELLS = 16  # in a row of a matrix, above which it is drawn smaller
NO_TRANSFER = "No transfer was evaluated: there is no aligned circuit to draw."
# What an alignment was not trained on, by protocol.
LEFT_OUT = {
    "task": "all but the task",
    "family": "all but its family",
    "task (its family)": "all but the task (its family)",
}
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "legend.edgecolor": "none",
    # TrueType fonts: the text of a PDF can be searched and edited.
    "pdf.fonttype": 42,
}
# Artists read the style when they are created, so it is set before any figure.
matplotlib.rcParams.update(STYLE)


def panels(
    count: int, *, columns: int, width: float, height: float, **subplots: object
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels (sizes in inches), `columns` in a row."""
    columns = min(count, columns)
    rows = ceil(count / columns)
    # "compressed" is "constrained" without gaps beside panels of fixed aspect ratio.
    figure = Figure(figsize=(columns * width, rows * height), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False, **subplots).flatten()
    for unused in axes[count:]:
        unused.remove()
    return figure, list(axes[:count])


def matrix_panels(
    count: int, cells: int, *, rows: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` matrices of `cells` columns and `rows` rows.

    Matrices are square by default. Large ones have smaller cells, and a row each.
    """
    side, columns = (0.42, 3) if cells <= MANY_CELLS else (0.24, 1)
    # Row labels and colour bar are shared by all matrices in a row.
    width = side * cells + 2.5 / min(count, columns)
    height = side * (rows or cells) + 1.6
    return panels(count, columns=columns, width=width, height=height, sharey=True)


def message(text: str) -> Figure:
    """Return a figure that only contains a message, for missing data."""
    figure = Figure(figsize=(5, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def show_text(axes: Axes, text: str) -> None:
    """Replace the content of a panel by text; its axis labels remain."""
    axes.spines[:].set_visible(False)
    ticks = dict.fromkeys(("left", "bottom", "labelleft", "labelbottom"), False)
    axes.tick_params(which="both", **ticks)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, the more the shorter it is.

    Its data must have been drawn. Labels of all minor ticks would overlap.
    """
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    labelled = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,)
    axis.set_major_locator(LogLocator(subs=labelled))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def mark_exaggeration(axes: Axes, x: float, y: float) -> None:
    """Mark a value of the CPR whose circuit exaggerates, as tables do."""
    axes.annotate(
        EXAGGERATION,
        (x, y),
        (0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=5,
    )


def label_outermost(axes: Sequence[Axes]) -> None:
    """Label the ticks of the lowest and the leftmost panels that are not empty.

    Panels that share an axis leave its labels to the outermost one; where `show_text`
    has emptied that one, no panel would have them.
    """
    lowest, leftmost = {}, {}
    for panel in axes:
        if panel.has_data():
            place = panel.get_subplotspec()
            lowest[place.colspan.start] = panel
            leftmost.setdefault(place.rowspan.start, panel)
    for panel in lowest.values():
        panel.tick_params(which="both", labelbottom=True)
    for panel in leftmost.values():
        panel.tick_params(which="both", labelleft=True)


def heatmap(
    axes: Axes,
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: Colormap | str,
    norm: Normalize,
    marks: np.ndarray | None = None,
) -> AxesImage:
    """Draw values `(row, column)` as coloured cells with their numbers.

    Behind the numbers are the `marks`, texts `(row, column)`.
    """
    colours = matplotlib.colormaps[colours].with_extremes(bad=MISSING)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm)
    if len(columns) <= MANY_CELLS:
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
        size = 7
    else:
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        size = 5
    axes.tick_params(length=0)
    axes.tick_params(axis="x", pad=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.2f}" if np.isfinite(value) else "-"
        text += "" if marks is None else str(marks[row, column])
        colour = readable_on(colours(norm(value))) if np.isfinite(value) else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, size=size)
    return image


def readable_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever contrasts with an RGB(A) colour."""
    luminance = np.dot(colour[:3], (0.299, 0.587, 0.114))
    return "black" if luminance > 0.5 else "white"


def save(figure: Figure, *paths: Path | str) -> None:
    """Write a figure in the format of each path's suffix."""
    for text in figure.findobj(Text):
        # `$` in a name starts no formula; tick labels are formatted later, in drawing.
        text.set_parse_math("$" not in text.get_text())
    # The layout is slow, and the same for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in paths:
        suffix = Path(path).suffix[1:]
        # Without the date, so that equal figures have equal bytes.
        metadata = {"CreationDate": None} if suffix == "pdf" else {}
        with activity(f"drawing {path}"), atomic(path) as partial:
            figure.savefig(partial, format=suffix, dpi=160, metadata=metadata)
        log.info("drew %s", path)
