"""Figure of the costs of transfer and direct attribution over new tasks."""

from collections.abc import Sequence
from math import ceil
from textwrap import fill

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from circuit_transfer.figures.style import COLOURS, message, panels, show_text
from circuit_transfer.tables.costs import (
    ALL,
    FLOP_UNITS,
    NOTHING,
    flop_unit,
    verdict,
)

FEWEST_TASKS = 10
DRAWN = ("FLOP", "seconds")
# Letters of the sentences below the panels that fit in an inch.
LETTERS = 19
LINES = {
    "direct attribution": (COLOURS["gold"], "-"),
    "transfer": (COLOURS["zero-shot"], "-"),
    "stitched": (COLOURS["zero-shot"], "--"),
}


def break_even_figure(
    balance: pl.DataFrame, *, source: str, target: str, methods: Sequence[str]
) -> Figure:
    """Draw the cumulative cost of new tasks: rows FLOPs and seconds, columns methods.

    Args:
        balance: the rows of `tables.costs.break_even`; drawn are alignments trained on
            all tasks and, if available, the stitched map.
        source: name of the source model.
        target: name of the target model.
        methods: in the order of the columns.
    """
    drawn = pl.col("trained_on").is_in([ALL, NOTHING])
    balance = balance.filter(drawn, source=source, target=target)
    if balance.is_empty():
        return message(
            "No task was scored in both models: there is no cost to compare."
        )
    cells = [(unit, method) for unit in DRAWN for method in methods]
    # Wide enough for most sentences below the panels, even with a single panel.
    width = max(2.7, 5.6 / len(methods))
    figure, axes = panels(len(cells), columns=len(methods), width=width, height=2.2)
    for panel, (unit, method) in zip(axes, cells, strict=True):
        _draw_costs(panel, balance.filter(unit=unit, method=method), unit)
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(method)
        if place.is_last_row():
            panel.set_xlabel("new tasks")
    known = LINES if NOTHING in balance["trained_on"] else list(LINES)[:2]
    handles = [
        Line2D([], [], color=LINES[name][0], linestyle=LINES[name][1]) for name in known
    ]
    figure.legend(handles, known, loc="outside upper right", ncols=3)
    # On the left, since the legend is on the right.
    figure.suptitle(f"{source} → {target}", x=0.01, ha="left", fontsize=9)
    letters = int(LETTERS * figure.get_figwidth())
    sentences = (
        fill(verdict(balance, unit), letters, break_on_hyphens=False) for unit in DRAWN
    )
    figure.supxlabel("\n".join(sentences), fontsize=7)
    return figure


def _draw_costs(axes: Axes, balance: pl.DataFrame, unit: str) -> None:
    if balance.is_empty():
        show_text(axes, "-")
        return
    row = balance.filter(trained_on=ALL).row(0, named=True)
    tasks = row["break_even"]
    last = max(FEWEST_TASKS, ceil(1.6 * (tasks or 0)))
    costs = {
        "direct attribution": (0.0, row["gold"]),
        "transfer": (row["training"], row["further"]),
    }
    for stitched in balance.filter(trained_on=NOTHING).iter_rows(named=True):
        costs["stitched"] = (0.0, stitched["further"])
    largest = max(start + slope * last for start, slope in costs.values())
    name = flop_unit(largest) if unit == "FLOP" else unit
    size = FLOP_UNITS.get(name, 1.0)
    for line, (start, slope) in costs.items():
        ends = (start / size, (start + slope * last) / size)
        colour, style = LINES[line]
        axes.plot((0, last), ends, color=colour, linestyle=style)
    axes.set(xlim=(0, last), ylim=(0, None), ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if tasks is None:
        where = {"ha": "center", "va": "top", "transform": axes.transAxes}
        axes.text(0.5, 0.97, "transfer is never cheaper", fontsize=7, **where)
    else:
        _mark(axes, tasks, tasks * row["gold"] / size)


def _mark(axes: Axes, tasks: float, cost: float) -> None:
    axes.plot([tasks, tasks], [0, cost], ":", color="#777777", linewidth=0.8)
    axes.plot([tasks], [cost], "o", color="#777777", markersize=4)
    axes.annotate(
        f"{tasks:.1f} tasks",
        (tasks, cost),
        (5, -5),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=7,
        # Keeps the label readable on top of lines.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
