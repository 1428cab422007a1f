"""Figure of all measures over the values of a setting, by task."""

from collections.abc import Sequence
from itertools import product

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.figures.style import (
    COLOURS,
    mark_exaggeration,
    message,
    panels,
    show_text,
)
from circuit_transfer.tables.curves import RANKINGS, ZERO_SHOT
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.measures import CPR, SHOWN, Measure, exaggerates
from circuit_transfer.tables.sensitivity import SOURCE_FREE, drawn_rows, lines, means
from circuit_transfer.transfer.training_sets import PROTOCOLS

NOTHING = "No circuit was evaluated: there is nothing to draw."
# Values are on a log scale if the largest is at least this many times the smallest.
LOG_RANGE = 8
# Horizontal distance of the points of a categorical value.
ASIDE = 0.11
# Zero-shot and zero-shot-family coincide for families of one task, hence the dashes.
STYLES = {
    "gold": (COLOURS["gold"], "-"),
    "in-distribution": (COLOURS["in-distribution"], "-"),
    **{name: (COLOURS[name], "-") for name in ZERO_SHOT},
    PROTOCOLS["family"]: (COLOURS[PROTOCOLS["family"]], "--"),
    SOURCE_FREE: (COLOURS["best"], "-."),
    RANKINGS: (COLOURS["random"], ":"),
}


def sensitivity_figure(
    areas: pl.DataFrame, *, title: str, setting: str, tasks: Sequence[str]
) -> Figure:
    """Draw measures over the values of a setting: the mean over tasks, then each task.

    A row for each, a column per measure. Error bars are one standard deviation over
    seeds or random rankings; the vertical line is at the configured value. Values other
    than numbers are categories. CPRs of circuits that exaggerate are marked.

    Args:
        areas: results of `sensitivity.run` for one setting.
        title: title of the figure.
        setting: name of the setting.
        tasks: in the order of the panels.
    """
    rows = drawn_rows(areas)
    if rows.is_empty():
        return message(NOTHING)
    values = areas.select("value", "configured").unique(maintain_order=True)
    places, scale = _placed(values["value"].to_list())
    configured = values.filter("configured")["value"].to_list()
    cells = [*product([MEAN, *tasks], SHOWN)]
    figure, axes = panels(
        len(cells), columns=len(SHOWN), width=2.8, height=2.0, sharey="col"
    )
    for panel, (task, measure) in zip(axes, cells, strict=True):
        of_panel = rows if task == MEAN else rows.filter(task=task)
        _draw_values(panel, of_panel, places, scale, measure)
        for value in configured:
            at = places[value]
            panel.axvline(at, color="#777777", linewidth=0.7, linestyle=":")
        _label_values(panel, places, scale)
        panel.set_title("mean over tasks" if task == MEAN else task)
        panel.set_ylabel(measure.name)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(title, fontsize=9)
    for panel in axes[-len(SHOWN) :]:
        panel.set_xlabel(setting.replace("_", " "))
    return figure


def _placed(values: Sequence[str]) -> tuple[dict[str, float], str]:
    """Return the positions of the values and their scale: linear, log or names."""
    try:
        places = {value: float(value) for value in values}
    except ValueError:
        return {value: float(place) for place, value in enumerate(values)}, "names"
    least, largest = min(places.values()), max(places.values())
    return places, "log" if 0 < LOG_RANGE * least <= largest else "linear"


def _draw_values(
    axes: Axes,
    rows: pl.DataFrame,
    places: dict[str, float],
    scale: str,
    measure: Measure,
) -> None:
    if rows.is_empty():
        show_text(axes, "-")
        return
    by_seed = means(rows, by=["value"])
    levels = by_seed.group_by("circuit", "value", maintain_order=True).agg(
        pl.col(measure.column).mean(),
        deviation=pl.col(measure.column).std().fill_null(0.0),
        max_faithfulness=pl.col("max_faithfulness").mean(),
    )
    place = pl.col("value").replace_strict(places, return_dtype=pl.Float64)
    levels = levels.with_columns(place=place).sort("place")
    circuits = lines(rows)
    for number, line in enumerate(circuits):
        level = levels.filter(circuit=line)
        if level.is_empty():
            continue
        colour, style = STYLES[line]
        aside = 0.0
        if scale == "names":  # categories: points side by side, without lines
            style, aside = "none", ASIDE * (number - (len(circuits) - 1) / 2)
        axes.errorbar(
            level["place"] + aside,
            level[measure.column],
            level["deviation"],
            color=colour,
            linestyle=style,
            marker=".",
            markersize=4,
            elinewidth=0.7,
            capsize=1.5,
            label=line,
        )
        for row in level.to_dicts() if measure is CPR else ():
            if exaggerates(row):
                mark_exaggeration(axes, row["place"] + aside, row[measure.column])


def _label_values(axes: Axes, places: dict[str, float], scale: str) -> None:
    turned = {}
    if scale == "names":
        turned = {"rotation": 15, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_xscale("log" if scale == "log" else "linear")
    axes.set_xticks(list(places.values()), list(places), **turned)
    axes.minorticks_off()
