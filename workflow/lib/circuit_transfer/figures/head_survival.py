"""Which heads the circuits of every method still use, as a grid for each size."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.figures.style import MISSING, message, panels, show_text

NO_HEADS = "No task has a usable pair: there is no head whose effect is known."
# What stands before the name of a head, by its role.
MARKS = {"named": "★", "strongest": "+", "negative": "−", "backup": "b"}
CELL = 0.17  # inches
TITLE = 2.0  # inches, of a column with its title
LETTER = 0.085  # inches, of the name of a task beside its row


def head_survival(
    survival: pl.DataFrame,
    *,
    model: str,
    tasks: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
) -> Figure:
    """Draw heads by methods, a row of grids for each task, a column for each size.

    A cell is dark where the head has an effective edge in the circuits of all seeds,
    and hatched where a method has no circuit of the size.

    Args:
        survival: see `tables.head_survival.survival_frame`.
        model: the model.
        tasks: in order.
        edge_methods: methods that score edges.
        learned_methods: methods that learn circuits, before the others.
        sizes: in the order of the columns.
    """
    known = [task for task in tasks if len(survival.filter(task=task))]
    if not known:
        return message(NO_HEADS)
    methods = [*learned_methods, *edge_methods]
    most = max(survival.filter(task=task)["head"].n_unique() for task in known)
    # Names of tasks are broken after their hyphens.
    longest = max(len(part) for task in known for part in task.split("-"))
    width = max(TITLE, 1.4 + CELL * len(methods))
    height = 0.5 + max(CELL * most, LETTER * longest)
    count = len(known) * len(sizes)
    figure, axes = panels(
        count, columns=len(sizes), width=width, height=height, sharex=True
    )
    cells = [(task, size) for task in known for size in sizes]
    for panel, (task, size) in zip(axes, cells, strict=True):
        _draw(panel, survival.filter(task=task, size=size), methods)
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(f"{100 * size:g} % of the edges")
        if place.is_first_col():
            panel.set_ylabel(task.replace("-", "-\n"))
    roles = survival["role"].unique()
    marks = [f"{mark} {role}" for role, mark in MARKS.items() if role in roles]
    figure.suptitle(f"{model}: heads in use ({', '.join(marks)})", fontsize=9)
    return figure


def _draw(axes: Axes, rows: pl.DataFrame, methods: Sequence[str]) -> None:
    if rows.is_empty():
        show_text(axes, "-")
        return
    heads = rows.select("role", "head").unique(maintain_order=True).rows()
    places = {head: place for place, head in enumerate(heads)}
    shares = np.full((len(heads), len(methods)), np.nan)
    columns = ("role", "head", "method", "kept")
    for role, head, method, kept in rows.select(columns).iter_rows():
        shares[places[role, head], methods.index(method)] = kept
    edges = np.arange(len(methods) + 1) - 0.5, np.arange(len(heads) + 1) - 0.5
    # Apart from shades of grey, which are shares of the seeds.
    axes.patch.set(hatch="////", edgecolor=MISSING, linewidth=0)
    axes.pcolormesh(
        *edges,
        np.ma.masked_invalid(shares),
        cmap="Greys",
        vmin=0,
        vmax=1.2,
        edgecolors="white",
        linewidth=0.5,
    )
    axes.invert_yaxis()
    axes.set_xticks(range(len(methods)), methods, rotation=90, fontsize=6)
    names = [f"{MARKS.get(role, '')} {head}" for role, head in heads]
    axes.set_yticks(range(len(heads)), names, fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
