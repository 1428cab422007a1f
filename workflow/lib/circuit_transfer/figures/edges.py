"""Faithfulness of circuits of edges over their size."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.curves import (
    NO_CURVES,
    distinct_sizes,
    draw_band,
    label_edges,
)
from circuit_transfer.figures.style import COLOURS, message, panels, show_text
from circuit_transfer.tables.edge_curves import (
    ABSOLUTE,
    FAITHFUL,
    FOUND,
    LIFTED,
    NODES,
    RANDOM,
    RANDOM_EFFECTIVE,
    SIGNED,
)
from circuit_transfer.tables.edge_levels import Row, of_row

SIZE = "circuit size (share of edges; of nodes)"
Look = dict[str, object]


def edge_curves_by_task(
    curves: pl.DataFrame,
    *,
    target: str,
    edge_method: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Figure:
    """Draw faithfulness over size of one method's circuits of edges, a panel per task.

    Beside them random edges, at equal share and at equal effective size, and what the
    first method that scores nodes finds: nodes, and their scores lifted to edges. Bands
    are the 95 % interval over examples.

    Args:
        curves: with intervals, see `edge_statistics.edge_statistics`, of one ablation.
        target: the model.
        edge_method: the method that scored the edges.
        methods: those that scored nodes.
        tasks: in the order of the panels.
    """
    frame = curves.filter(target=target)
    series = _series(edge_method, methods[:1])
    drawn = {row: look for row, look in series.items() if len(of_row(frame, row))}
    if not any(row.control == FOUND for row in drawn):
        return message(NO_CURVES)
    # Below one or two panels there is no room for a legend of several columns.
    height, columns = (2.5, 3) if len(tasks) > 2 else (3.6, 1)
    figure, axes = panels(
        len(tasks), columns=3, width=3.0, height=height, sharex=True, sharey=True
    )
    for panel, task in zip(axes, tasks, strict=True):
        panel.set_title(task)
        _draw(panel, frame.filter(task=task), drawn)
    figure.suptitle(f"{target}, {edge_method}", fontsize=9)
    label_edges(axes, SIZE, "faithfulness")
    handles = [Line2D([], [], **look) for look in drawn.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _series(edge_method: str, methods: Sequence[str]) -> dict[Row, Look]:
    """Return how each curve is drawn: by colour, and by line and marker as well."""
    found, random = COLOURS["zero-shot"], COLOURS["random"]
    nodes = COLOURS["in-distribution"]
    random_effective = Row(edge_method, RANDOM_EFFECTIVE, SIGNED)
    looks = {
        Row(edge_method, FOUND, SIGNED): (found, "-", "o", "edges, signed"),
        Row(edge_method, FOUND, ABSOLUTE): (found, "--", "^", "edges, absolute"),
        Row(RANDOM, RANDOM, None): (random, "-", ".", "random edges"),
        random_effective: (random, ":", "x", "random edges of equal effective size"),
    }
    for method in methods:
        looks |= {
            Row(method, NODES, None): (nodes, "-", "s", f"nodes, {method}"),
            Row(method, LIFTED, None): (nodes, ":", "D", f"nodes as edges, {method}"),
        }
    names = ("color", "linestyle", "marker", "label")
    return {
        row: dict(zip(names, look, strict=True)) | {"markersize": 3}
        for row, look in looks.items()
    }


def _draw(axes: Axes, curves: pl.DataFrame, drawn: Mapping[Row, Look]) -> None:
    # A task that corruption does not change has no faithfulness at any size.
    if curves.is_empty():
        show_text(axes, "-")
        return
    for height, style in ((0.0, "-"), (FAITHFUL, ":"), (1.0, "-")):
        axes.axhline(height, color="#cccccc", linewidth=0.6, linestyle=style, zorder=0)
    for row, look in drawn.items():
        curve = of_row(curves, row).sort("proportion")
        if curve.is_empty():
            continue
        names = ("proportion", "faithfulness", "low", "high")
        sizes, mean, low, high = (curve[name].to_numpy() for name in names)
        axes.plot(sizes, mean, **look, markevery=distinct_sizes(curve["n_nodes"]))
        draw_band(axes, sizes, low, high, look["color"])
    axes.set_xscale("log")
