"""Tasks against tasks: what training on one gives on another."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from circuit_transfer.figures.style import (
    LEFT_OUT,
    MANY_CELLS,
    NO_TRANSFER,
    heatmap,
    message,
    panels,
)
from circuit_transfer.tables.by_method import Maps, main_maps
from circuit_transfer.tables.curves import of_map, pair_rows
from circuit_transfer.tables.measures import CPR, EXAGGERATED, SHOWN, Measure
from circuit_transfer.tables.typesetting import EXAGGERATION
from circuit_transfer.transfer.training_sets import (
    Families,
    left_out_sets,
    study_protocols,
)

SIDE = 0.42  # of a cell, in inches


def transfer_matrices(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    tasks: Sequence[str],
    families: Families,
) -> Figure:
    """Training on one task and evaluating on another: a row per method.

    A column per measure, bright where circuits are good. Below the tasks, what training
    without the task, or its family, gives on it.
    """
    cpr = pair_rows(cpr, source, target).filter(control="none")
    names = {"tasks": tasks, "families": families}
    mains = main_maps(maps).items()
    of_method = {each: of_map(cpr.filter(method=each), name) for each, name in mains}
    matrices = {
        (method, measure): transfer_matrix(frame, measure.column, **names)
        for method, frame in of_method.items()
        for measure in SHOWN
    }
    if not any(np.isfinite(matrix).any() for matrix in matrices.values()):
        return message(NO_TRANSFER)
    rows = [*tasks, *(LEFT_OUT[protocol] for protocol in study_protocols(families))]
    figure, axes = panels(
        len(matrices),
        columns=len(SHOWN),
        width=SIDE * len(tasks) + 0.85,
        # The names of tasks and the colour bars are below the last row alone.
        height=SIDE * len(rows) + 0.5 + _below(tasks) / len(maps),
        sharex=True,
        sharey=True,
    )
    for panel, ((method, measure), matrix) in zip(axes, matrices.items(), strict=True):
        of_measure = [matrices[each, measure] for each in maps]
        norm = Normalize(np.nanmin(of_measure), np.nanmax(of_measure))
        largest = transfer_matrix(of_method[method], "max_faithfulness", **names)
        marks = np.where((largest > EXAGGERATED) & (measure is CPR), EXAGGERATION, "")
        image = _draw_matrix(panel, matrix, measure, marks, norm, rows, tasks)
        panel.set_title(f"{method}\n{measure.name}")
        place = panel.get_subplotspec()
        if place.is_last_row():
            column = axes[place.colspan.start :: len(SHOWN)]
            bar = {"location": "bottom", "shrink": 0.8}
            bar["label"] = f"{measure.name} ({measure.direction})"
            figure.colorbar(image, ax=column, **bar)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def _below(tasks: Sequence[str]) -> float:
    """Return the height of the names of tasks and the colour bars, in inches."""
    # Names are turned, see `style.heatmap`.
    letter = 0.036 if len(tasks) <= MANY_CELLS else 0.1
    return 1.8 + letter * max(map(len, tasks))


def _draw_matrix(
    axes: Axes,
    matrix: np.ndarray,
    measure: Measure,
    marks: np.ndarray,
    norm: Normalize,
    rows: Sequence[str],
    tasks: Sequence[str],
) -> AxesImage:
    colours = "viridis" if measure.higher else "viridis_r"
    names = {"rows": rows, "columns": tasks}
    image = heatmap(axes, matrix, colours=colours, norm=norm, marks=marks, **names)
    axes.axhline(len(tasks) - 0.5, color="white", linewidth=3)
    place = axes.get_subplotspec()
    if place.is_first_col():
        axes.set_ylabel("trained on")
    if place.is_last_row():
        axes.set_xlabel("evaluated on")
    return image


def transfer_matrix(
    cpr: pl.DataFrame, column: str, *, tasks: Sequence[str], families: Families
) -> np.ndarray:
    """Mean of a column over seeds `(training set, evaluated task)`, NaN where none is.

    A row for every task alone, and one for every protocol: for all but the evaluated
    task, and for all but its family.
    """
    frame = cpr.group_by("training_set", "task").agg(pl.col(column).mean())
    cells = {(trained, task): value for trained, task, value in frame.iter_rows()}
    rows = [[cells.get((f"only-{row}", column)) for column in tasks] for row in tasks]
    left_out = {task: left_out_sets(task, families) for task in tasks}
    for protocol in study_protocols(families):
        rows.append([cells.get((left_out[task][protocol], task)) for task in tasks])
    return np.array(rows, dtype=float)
