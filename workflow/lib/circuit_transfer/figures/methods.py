"""Which method when: what finding circuits takes, and how good they are."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import COLOURS, message, panels, plain_log_ticks
from circuit_transfer.tables.edge_curves import LIFTED, SIGNED
from circuit_transfer.tables.method_measures import LEARNED
from circuit_transfer.tables.methods import Entry, MethodLevels, entries

NO_METHODS = "No circuit was measured at a learned size: there is nothing to compare."
# Of methods that learn circuits, and that score nodes; others score edges.
FILLS = {LEARNED: COLOURS["zero-shot"], LIFTED: COLOURS["near-distribution"]}
EDGES_FILL = COLOURS["in-distribution"]
MARKERS = "osD^vP*X<>ph"
MEASURED = {"kl": "KL (nats)", "faithfulness": "faithfulness"}
# KL below this is drawn here: the axis is logarithmic.
LEAST_KL = 1e-5
Point = tuple[float, float]


def methods_figure(
    statistics: pl.DataFrame,
    *,
    target: str,
    methods: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
) -> Figure:
    """Draw seconds against KL and against faithfulness, a column for each size.

    Means over tasks; whiskers are from the lowest to the highest seed. A line connects
    the methods that no other one beats in both. Of rankings of edges those by absolute
    scores are drawn.

    Args:
        statistics: see `method_statistics`.
        target: the model.
        methods: methods that score nodes, in order.
        edge_methods: methods that score edges.
        learned_methods: methods that learn circuits.
        sizes: those that circuits are learned for.
    """
    levels = MethodLevels(statistics)
    every = entries(methods, edge_methods, learned_methods)
    looks = _looks([each for each in every if each.circuit != SIGNED])
    found = {
        entry: look
        for entry, look in looks.items()
        if levels.level(entry, "seconds")
        and any(levels.level(entry, "kl", size) for size in sizes)
    }
    if not found:
        return message(NO_METHODS)
    figure = _panels(levels, found, sizes)
    handles = [
        Line2D([], [], linestyle="", label=_name(entry, levels, sizes), **look)
        for entry, look in found.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(sizes) + 1)
    )
    over = levels.over_tasks
    figure.suptitle(f"{target}, {over}{' over tasks' * (over == 'mean')}", fontsize=9)
    return figure


def _panels(
    levels: MethodLevels, looks: dict[Entry, dict[str, object]], sizes: Sequence[float]
) -> Figure:
    """Return the figure without its legend: a row for each measure."""
    grid = {"sharex": True, "sharey": "row"}
    count = len(MEASURED) * len(sizes)
    figure, axes = panels(count, columns=len(sizes), width=2.6, height=2.3, **grid)
    cells = [(measure, size) for measure in MEASURED for size in sizes]
    for panel, (measure, size) in zip(axes, cells, strict=True):
        _draw(panel, levels, looks, measure, size)
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(f"{100 * size:g} % of the edges")
        if place.is_last_row():
            panel.set_xlabel("seconds for a task")
        if place.is_first_col():
            panel.set_ylabel(MEASURED[measure])
    for panel, (measure, _) in zip(axes, cells, strict=True):
        plain_log_ticks(panel.xaxis)
        if measure == "kl":
            plain_log_ticks(panel.yaxis)
    return figure


def _looks(shown: Sequence[Entry]) -> dict[Entry, dict[str, object]]:
    """Return how each method is drawn: filled if it learns, and by its own marker."""
    looks, counts = {}, {True: 0, False: 0}
    for entry in shown:
        learned = entry.circuit == LEARNED
        colour = FILLS.get(entry.circuit, EDGES_FILL)
        looks[entry] = {
            "marker": MARKERS[counts[learned] % len(MARKERS)],
            "color": colour,
            "markerfacecolor": colour if learned else "white",
            "markersize": 6,
        }
        counts[learned] += 1
    return looks


def _name(entry: Entry, levels: MethodLevels, sizes: Sequence[float]) -> str:
    """Return what a method scores or learns; of its own size, how large that is."""
    text = {LEARNED: "learned", LIFTED: "nodes"}.get(entry.circuit, "edges")
    for size in sizes:
        if levels.stands(entry, size) and not levels.has_size(entry, size):
            share = levels.level(entry, "share", size)["value"]
            text += f", {100 * share:.2g} % of the edges"
    return f"{entry.method} ({text})"


def _draw(
    axes: Axes,
    levels: MethodLevels,
    looks: dict[Entry, dict[str, object]],
    measure: str,
    size: float,
) -> None:
    points: list[Point] = []
    least = LEAST_KL if measure == "kl" else -np.inf
    for entry, look in looks.items():
        level = levels.level(entry, measure, size)
        if not level:
            continue
        seconds = levels.level(entry, "seconds")["value"]
        value = max(level["value"], least)
        seeds = np.maximum(levels.seeds(entry, measure, size) or [value], least)
        axes.plot(
            [seconds, seconds],
            [seeds.min(), seeds.max()],
            color=look["color"],
            linewidth=1,
        )
        axes.plot([seconds], [value], linestyle="", **look)
        if levels.has_size(entry, size):
            points.append((seconds, value))
    axes.set_xscale("log")
    if measure == "kl":
        axes.set_yscale("log")
    else:
        axes.axhline(1, color="#cccccc", linewidth=0.6, zorder=0)
    best = frontier([(x, y if measure == "kl" else abs(1 - y)) for x, y in points])
    line = [points[place] for place in best]
    axes.plot(
        *np.transpose(line).reshape(2, -1), color="#999999", linewidth=0.8, zorder=0
    )


def frontier(points: Sequence[Point]) -> list[int]:
    """Return the points that no other one is below in both, by their first number."""
    order = sorted(range(len(points)), key=lambda place: points[place])
    best, lowest = [], np.inf
    for place in order:
        if points[place][1] < lowest:
            best.append(place)
            lowest = points[place][1]
    return best
