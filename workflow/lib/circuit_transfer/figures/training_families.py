"""Figure of what maps reach by the number of families that they were trained on."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.figures.style import COLOURS, message, panels
from circuit_transfer.statistics import cluster_draws, percentile_interval
from circuit_transfer.tables.training_families import (
    ALL,
    CONSTANT,
    MEAN_GOLD,
    OTHER_FAMILY,
    PAIR,
    REAL,
    SHUFFLED,
    family_means,
)
from circuit_transfer.transfer.training_sets import Families

NOTHING = "No number of training families was evaluated: there is nothing to draw."
# In a colour, a line and a marker of its own each.
STYLES = {
    REAL: (COLOURS["gold"], "-", "o"),
    CONSTANT: (COLOURS["zero-shot"], "--", "s"),
    SHUFFLED: (COLOURS["in-distribution"], "-.", "^"),
    OTHER_FAMILY: (COLOURS["near-distribution"], ":", "v"),
    MEAN_GOLD: (COLOURS["best"], (0, (5, 1, 1, 1, 1, 1)), "D"),
}
# Horizontal distance of the bars of two lines, as a share of the number.
ASIDE = 0.02


def training_families_figure(areas: pl.DataFrame, families: Families) -> Figure:
    """Draw the CPR over the number of training families, a panel per map and pair.

    A row per pair and method. Bars are 95 % intervals over families (bootstrap).

    Args:
        areas: results of `sensitivity.run` for any pairs and methods.
        families: of the tasks, see `training_sets.study_families`.
    """
    means = family_means(areas, families)
    if means.is_empty():
        return message(NOTHING)
    number = pl.col("value").replace(ALL, str(len(families) - 1)).cast(pl.Float64)
    means = means.with_columns(number=number)
    fits = means.group_by(*PAIR, "map", maintain_order=True)
    shown = list(fits)
    columns = means["map"].n_unique()
    figure, axes = panels(
        len(shown), columns=columns, width=3.2, height=2.6, sharey=True
    )
    for panel, ((source, target, method, name), of_fit) in zip(
        axes, shown, strict=True
    ):
        _draw_lines(panel, of_fit)
        # In two lines: names of models are long.
        panel.set_title(f"{source} → {target}\n{name}, {method}")
        panel.set_xlabel("training families")
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("CPR")
    legends = [panel.get_legend_handles_labels() for panel in axes]
    handles = {
        name: handle for legend in legends for handle, name in zip(*legend, strict=True)
    }
    labels = [name for name in STYLES if name in handles]
    handles = [handles[name] for name in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_lines(axes: Axes, means: pl.DataFrame) -> None:
    for place, (given, (colour, style, marker)) in enumerate(STYLES.items()):
        levels = np.array([*_levels(means.filter(given=given))])
        if not len(levels):
            continue
        number, level, low, high = levels.T
        axes.errorbar(
            number * (1 + ASIDE * (place - len(STYLES) // 2)),
            level,
            np.clip([level - low, high - level], 0, None),
            color=colour,
            linestyle=style,
            marker=marker,
            markersize=3.5,
            elinewidth=0.7,
            capsize=1.5,
            label=given,
        )
    numbers = means["number"].unique().sort().to_list()
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{each:g}" for each in numbers])
    axes.minorticks_off()


def _levels(means: pl.DataFrame) -> Iterator[tuple[float, float, float, float]]:
    """Yield every number of families, the mean and the ends of its interval.

    All families, also where their number is given, are one point.
    """
    for (number,), of_number in means.group_by("number", maintain_order=True):
        of_family = of_number.unique("family", maintain_order=True)["cpr"].to_numpy()
        draws = cluster_draws([np.array([each]) for each in of_family])
        yield number, of_family.mean(), *map(float, percentile_interval(draws))
