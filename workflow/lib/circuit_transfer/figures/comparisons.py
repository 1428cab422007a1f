"""Circuits compared by one number each: controls and maps."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import ceil

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import (
    COLOURS,
    LEFT_OUT,
    NO_TRANSFER,
    label_outermost,
    mark_exaggeration,
    message,
    panels,
    show_text,
)
from circuit_transfer.tables.by_method import Controls, Maps, every_name
from circuit_transfer.tables.curves import RANKINGS
from circuit_transfer.tables.measures import CPR, SHOWN, Measure, exaggerates
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import EXAGGERATION
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE

# What was left out of training, or nothing: colour and marker.
MARKERS = {
    "task": (COLOURS["zero-shot"], "o"),
    "family": (COLOURS["zero-shot-family"], "D"),
    "task (its family)": (COLOURS["zero-shot-family"], "D"),
    None: ("#555555", "s"),
}
# How far its number is to the right of a panel, in points.
ASIDE = {"task": 12, "family": 34, "task (its family)": 23, None: 23}
# What a map is given: label, colour and marker.
GIVEN = {
    "real": ("the task's source scores", "#000000", "o"),
    "source-free": ("a constant", "#009E73", "s"),
    "random-source": ("shuffled scores", "#999999", "v"),
    "other-family": ("another family's scores", "#D55E00", "D"),
    DEGREE_SOURCE: ("scores by the sums of nodes", "#CC79A7", "^"),
}
IN_A_LINE = 6  # names of the legend, of which more are in two lines
LEVELS = {"gold": ("#000000", "-"), "node-changes": ("#0072B2", "--")}
LEVELS |= {"edge-changes": ("#E69F00", ":")}


def controls_figure(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    controls: Controls,
) -> Figure:
    """Gold, aligned and control circuits, mean over tasks: a row per method.

    A column per measure. A mark for training without the task, one for training
    without its family. Thin bars are the 95 % interval over examples, pale ones a
    standard deviation over seeds.
    """
    pair = Pair(statistics, source, target)
    zero_shot, *_ = pair.protocols.values()
    rows = {}
    for method in maps:
        own = ("gold", "in-distribution", zero_shot, *controls[method], RANKINGS)
        rows[method] = [row for row in own if pair.has(row)]
    if not every_name(rows):
        return message(NO_TRANSFER)
    figure, cells = _grid(rows, frame=0.9, line=0.2)
    for (method, measure), panel in cells.items():
        name = maps[method][0]
        _draw_dots(panel, pair, rows[method], method=method, name=name, measure=measure)
    label_outermost([*cells.values()])
    _protocol_legend(figure, pair.protocols)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def maps_figure(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
) -> Figure:
    """Every map by the source scores that it is given: a row per method.

    A column per measure. Trained, if at all, on all but the task's family; mean over
    tasks. Bars are the 95 % interval over examples. Lines: the gold circuit, and scores
    of the target alone. CPRs of circuits that exaggerate are marked.
    """
    pair = Pair(statistics, source, target)
    *_, zero_shot = pair.protocols.values()
    if not pair.has(zero_shot):
        return message(NO_TRANSFER)
    figure, cells = _grid(maps, frame=1.3, line=0.28)
    for (method, measure), panel in cells.items():
        _draw_maps(panel, pair, maps[method], method, measure)
    label_outermost([*cells.values()])
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for given, (label, colour, marker) in GIVEN.items()
        if given == "real" or pair.has(given)
    ]
    handles += [
        Line2D([], [], color=colour, linestyle=style, linewidth=0.8, label=circuit)
        for circuit, (colour, style) in LEVELS.items()
        if pair.has(circuit)
    ]
    columns = len(handles) if len(handles) <= IN_A_LINE else ceil(len(handles) / 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def _grid(
    rows: Mapping[str, Sequence[str]], *, frame: float, line: float
) -> tuple[Figure, dict[tuple[str, Measure], Axes]]:
    """Return a figure with a panel for every method (down) and measure (across).

    Args:
        rows: the names that the panels of a method list, from the top.
        frame: height of a panel without them, in inches.
        line: height of one of them.
    """
    heights = [frame + line * len(names) for names in rows.values()]
    figure, axes = panels(
        len(rows) * len(SHOWN),
        columns=len(SHOWN),
        width=3.2,
        height=sum(heights) / len(heights),
        # A line is as high in every panel.
        height_ratios=[len(names) + 0.2 for names in rows.values()],
        sharey="row",
        sharex="col",
    )
    cells = dict(zip(product(rows, SHOWN), axes, strict=True))
    for (method, measure), panel in cells.items():
        panel.set_title(f"{method}, {measure.name}")
        if panel.get_subplotspec().is_last_row():
            panel.set_xlabel(f"{measure.name}, mean over tasks ({measure.direction})")
    for names, first in zip(rows.values(), axes[:: len(SHOWN)], strict=True):
        first.set_yticks(range(len(names)), names)
        # The first row on top.
        first.set_ylim(len(names) - 0.4, -0.6)
    return figure, cells


def _draw_maps(
    axes: Axes, pair: Pair, names: Sequence[str], method: str, measure: Measure
) -> None:
    *_, (protocol, aligned) = pair.protocols.items()
    circuits = {given: aligned if given == "real" else given for given in GIVEN}
    found = {
        (place, given): level
        for place, name in enumerate(names)
        for given, circuit in circuits.items()
        if (level := pair.level(method, circuit, name=name, protocol=protocol))
    }
    if not found:
        show_text(axes, "-")
        return
    for circuit, (colour, style) in LEVELS.items():
        level = pair.level(method, circuit, name="", protocol=protocol)
        if level:
            line = {"color": colour, "linestyle": style, "linewidth": 0.8}
            axes.axvline(level[measure.column], zorder=0, **line)
    for (place, given), level in found.items():
        _, colour, marker = GIVEN[given]
        # Real scores on the line of their map, their controls just below.
        lower = place + 0.1 * list(GIVEN).index(given)
        _draw_interval(axes, level, lower, measure, colour)
        axes.plot(level[measure.column], lower, marker, color=colour, markersize=4)
        if measure is CPR and exaggerates(level):
            mark_exaggeration(axes, level[measure.column], lower)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.margins(x=0.08)


def _draw_dots(
    axes: Axes,
    pair: Pair,
    rows: Sequence[str],
    *,
    method: str,
    name: str,
    measure: Measure,
) -> None:
    if not any(pair.level(method, row, name=name) for row in rows if row != RANKINGS):
        show_text(axes, "-")
        return
    zero_shot, *_ = pair.protocols.values()
    middle = (len(pair.protocols) - 1) / 2
    for place, row in enumerate(rows):
        for number, (protocol, aligned) in enumerate(pair.protocols.items()):
            circuit = aligned if row == zero_shot else row
            level = pair.level(method, circuit, name=name, protocol=protocol)
            if not level:
                continue
            if row == zero_shot:
                line = {"color": MARKERS[protocol][0], "linewidth": 0.6, "alpha": 0.6}
                axes.axvline(level[measure.column], zorder=0, **line)
            if level["protocol"] is None:
                _draw_dot(axes, level, place, measure)
                break
            _draw_dot(axes, level, place + 0.3 * (number - middle), measure)
    for protocol in pair.protocols:
        _beside(axes, protocol, -0.7, protocol)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.margins(x=0.08)


def _draw_dot(axes: Axes, level: Mapping, place: float, measure: Measure) -> None:
    colour, marker = MARKERS[level["protocol"]]
    value, deviation = level[measure.column], level[measure.deviation] or 0.0
    ends = (value - deviation, value + deviation)
    axes.plot(ends, [place] * 2, color=colour, linewidth=5, alpha=0.25, zorder=1)
    _draw_interval(axes, level, place, measure, colour)
    axes.plot(value, place, marker, color=colour, markersize=3.2, zorder=3)
    marked = measure is CPR and exaggerates(level)
    text = f"{value:.2f}{EXAGGERATION if marked else ''}"
    _beside(axes, text, round(place), level["protocol"])


def _draw_interval(
    axes: Axes, level: Mapping, place: float, measure: Measure, colour: str
) -> None:
    ends = [level[f"{measure.column}_{end}"] for end in ("low", "high")]
    if None not in ends:
        axes.plot(ends, [place] * 2, color=colour, linewidth=1)


def _beside(axes: Axes, text: str, place: float, protocol: str | None) -> None:
    # Beside the panel, in columns: numbers at the marks would overlap.
    axes.annotate(
        text,
        (1, place),
        (ASIDE[protocol], 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=6,
        annotation_clip=False,
    )


def _protocol_legend(figure: Figure, protocols: Iterable[str]) -> None:
    names = {key: f"trained on {LEFT_OUT[key]}" for key in protocols}
    names[None] = "no such training"
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for label, (colour, marker) in zip(
            names.values(), map(MARKERS.get, names), strict=True
        )
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        markerscale=0.6,
    )
