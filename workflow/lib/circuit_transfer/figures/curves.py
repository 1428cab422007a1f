"""Faithfulness over circuit size."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import (
    COLOURS,
    label_outermost,
    message,
    panels,
    show_text,
)
from circuit_transfer.tables.by_method import Maps, main_maps
from circuit_transfer.tables.curves import (
    RANKINGS,
    ZERO_SHOT,
    named_rows,
    of_map,
    pair_rows,
)
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_transfers import members, random_method, size_label
from circuit_transfer.tables.measures import SHOWN, exaggerates
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import EXAGGERATION
from circuit_transfer.transfer.training_sets import (
    PROTOCOLS,
    Families,
    study_protocols,
)

NO_CURVES = "No circuit was evaluated: there is no curve to draw."
SERIES = (RANKINGS, "gold", "in-distribution", *ZERO_SHOT)
# Of examples: no spread leads out of 0 to 1.
SHARES = ("agreement_right", "agreement_wrong")
COMPLETENESS = {"faithfulness": "-", "complement_faithfulness": "--"}
PAIRS_IN_A_ROW = 4
LINE = 9.2  # height of a line of a legend, in points


def curves_by_pair(
    intervals: pl.DataFrame,
    statistics: pl.DataFrame,
    *,
    transfers: Iterable[Mapping[str, str]],
    maps: Maps,
) -> Figure:
    """Faithfulness over size, mean over tasks: a row per pair, a column per method.

    With one method the pairs stand side by side, a few in a row. Bands are the 95 %
    interval over examples.
    """
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    if not pairs or intervals.is_empty():
        return message("No transfer in this study: there is no pair to draw.")
    cells = [(method, *pair) for pair in pairs for method in maps]
    columns = len(maps) if len(maps) > 1 else PAIRS_IN_A_ROW
    figure, axes = panels(
        len(cells), columns=columns, width=2.9, height=3.3, sharex=True, sharey=True
    )
    frame = intervals.filter(task=MEAN)
    targets = [target for _, target in pairs]
    for panel, (method, source, target) in zip(axes, cells, strict=True):
        pair = Pair(statistics, source, target)
        name = maps[method][0]
        curves = of_map(pair_rows(frame, source, target), name)
        panel.set_title(f"{source} → {target}\n{method}")
        _draw_curves(panel, curves, pair, method=method, name=name)
    label_edges(axes, size_label(maps), "faithfulness")
    _legend_of_curves(figure, frame.filter(pl.col("target").is_in(targets)))
    return figure


def curves_by_task(
    intervals: pl.DataFrame,
    statistics: pl.DataFrame,
    *,
    source: str | None = None,
    target: str,
    map_name: str,
    method: str,
    tasks: Sequence[str],
) -> Figure:
    """Faithfulness over size on every task; without a source only gold and random.

    Bands are the 95 % interval over examples.
    """
    frame = of_map(pair_rows(intervals, source, target), map_name)
    frame = frame.filter(pl.col("method").is_in([method, random_method(method)]))
    if frame.is_empty():
        return message(NO_CURVES)
    figure, axes = panels(
        len(tasks), columns=3, width=2.8, height=2.9, sharex=True, sharey=True
    )
    pair = Pair(statistics, source, target)
    for panel, task in zip(axes, tasks, strict=True):
        curves = frame.filter(task=task)
        panel.set_title(task)
        _draw_curves(panel, curves, pair, method=method, name=map_name, task=task)
    models = target if source is None else f"{source} → {target}"
    figure.suptitle(f"{models}, {method}", fontsize=9)
    label_edges(axes, size_label([method]), "faithfulness")
    _legend_of_curves(figure, frame)
    return figure


def completeness(
    curves: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
    families: Families,
) -> Figure:
    """What circuits leave to the rest of the model, and where both models agree.

    A column per method; the first row has the faithfulness of the circuit and of its
    complement, the others the share of examples with the whole model's answer among
    those that it gets right, and wrong. Means over tasks, bands over seeds.
    """
    shown = ("gold", *study_protocols(families).values())
    curves = named_rows(pair_rows(curves, source, target), families)
    curves = curves.filter(pl.col("circuit").is_in(shown))
    if curves.is_empty():
        return message(NO_CURVES)
    rows = {
        "faithfulness\n(dashed: of the complement)": COMPLETENESS,
        "agreement where the\nwhole model is right": {SHARES[0]: "-"},
        "agreement where the\nwhole model is wrong": {SHARES[1]: "-"},
    }
    figure, axes = panels(
        len(rows) * len(maps),
        columns=len(maps),
        width=2.7,
        height=2.0,
        sharex=True,
        sharey="row",
    )
    grid = np.reshape(axes, (len(rows), len(maps)))
    for panels_of_row, (title, columns) in zip(grid, rows.items(), strict=True):
        for panel, (method, name) in zip(
            panels_of_row, main_maps(maps).items(), strict=True
        ):
            found = of_map(curves.filter(method=method), name)
            _draw_measures(panel, found, shown, columns)
        panels_of_row[0].set_ylabel(title)
    for column, method in enumerate(maps):
        grid[0, column].set_title(method)
        grid[-1, column].set_xlabel(size_label([method]))
    label_outermost(axes)
    handles = [Line2D([], [], color=COLOURS[row], label=row) for row in shown]
    # Under a single panel there is no room for all of them side by side.
    columns = len(handles) if len(maps) > 1 else 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def _draw_measures(
    axes: Axes, curves: pl.DataFrame, shown: Sequence[str], columns: Mapping[str, str]
) -> None:
    if curves.select(pl.col(*columns).is_null().all().all()).row(0)[0]:
        show_text(axes, "-")
        return
    for level in (0.0, 1.0):
        axes.axhline(level, color="#cccccc", linewidth=0.6, zorder=0)
    for row in shown:
        for column, style in columns.items():
            curve = curves.filter(circuit=row).drop_nulls(column)
            if not curve.is_empty():
                sizes, mean, deviation, counts = mean_curve(curve, column)
                band = np.array([mean - deviation, mean + deviation])
                if column in SHARES:
                    band = band.clip(0, 1)
                line = {"color": COLOURS[row], "markevery": distinct_sizes(counts)}
                axes.plot(sizes, mean, f".{style}", markersize=3, **line)
                draw_band(axes, sizes, *band, COLOURS[row])
    axes.set_xscale("log")


def distinct_sizes(counts: Sequence[int]) -> list[int]:
    """Return where a curve has another circuit than before: sizes can round to one.

    Args:
        counts: numbers of nodes, or of edges, in the order of the sizes.
    """
    return [n for n, count in enumerate(counts) if not n or count != counts[n - 1]]


def mean_curve(
    curves: pl.DataFrame, column: str = "faithfulness"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, mean of a column over tasks and seeds, its deviation, sizes in numbers.

    The numbers are of edges where these were scored, else of nodes. The standard
    deviation is over seeds. Tasks are averaged within each seed first, so that the
    deviation is that of the number a reader compares.
    """
    # In a fixed order: sums depend on it in the last digit, and files must not.
    curves = curves.with_columns(count=members(curves))
    seeds = curves.group_by("seed", "proportion", "count", maintain_order=True).agg(
        pl.col(column).mean()
    )
    sizes = seeds.group_by("proportion", "count").agg(
        mean=pl.col(column).mean(),
        deviation=pl.col(column).std().fill_null(0.0),
    )
    sizes = sizes.sort("proportion")
    columns = ("proportion", "mean", "deviation", "count")
    return tuple(sizes[name].to_numpy() for name in columns)


def _draw_curves(
    axes: Axes,
    curves: pl.DataFrame,
    pair: Pair,
    *,
    method: str,
    name: str,
    task: str = MEAN,
) -> None:
    levels = {row: pair.level(method, row, task, name=name) for row in SERIES}
    n_tasks = max((level["n_tasks"] for level in levels.values() if level), default=0)
    drawn = {row: level for row, level in levels.items() if level}
    # A task that corruption does not change has no faithfulness at any size.
    if not n_tasks or curves.is_empty():
        show_text(axes, "-")
        return
    for height in (0.0, 1.0):
        axes.axhline(height, color="#cccccc", linewidth=0.6, zorder=0)
    for row, level in drawn.items():
        of_method = random_method(method) if row == RANKINGS else method
        curve = curves.filter(circuit=row, method=of_method).sort("proportion")
        label = "  ".join(f"{level[measure.column]:.2f}" for measure in SHOWN)
        label += f"  {EXAGGERATION}" if exaggerates(level) else ""
        if level["n_tasks"] < n_tasks:
            label += f" ({level['n_tasks']}/{n_tasks} tasks)"
        sizes, mean, low, high = (
            curve[column].to_numpy()
            for column in ("proportion", "faithfulness", "low", "high")
        )
        points = distinct_sizes(members(curve))
        axes.plot(sizes, mean, **_line(row), label=label, markevery=points)
        draw_band(axes, sizes, low, high, _line(row)["color"])
    axes.set_xscale("log")
    # Above the panel, where it hides no curve. The names stand once, below all panels.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=" / ".join(measure.name for measure in SHOWN),
        title_fontsize=7,
        alignment="left",
        handlelength=1.2,
        borderpad=0,
        labelspacing=0.2,
    )
    axes.set_title(axes.get_title(), pad=LINE * (len(drawn) + 1) + 6)


def _line(row: str) -> dict[str, object]:
    colour = COLOURS["random" if row == RANKINGS else row]
    style = "--" if row == PROTOCOLS["family"] else "-"
    return {"color": colour, "linestyle": style, "marker": ".", "markersize": 3}


def _legend_of_curves(figure: Figure, frame: pl.DataFrame) -> None:
    shown = [row for row in SERIES if row in frame["circuit"]]
    handles = [Line2D([], [], **_line(row), label=row) for row in shown]
    # Under one or two panels there is no room for all of them side by side.
    columns = len(shown) if figure.get_figwidth() > 6 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def draw_band(
    axes: Axes, sizes: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str
) -> None:
    """Draw an interval around a curve, each `(sizes,)`."""
    axes.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)


def label_edges(axes: Sequence[Axes], xlabel: str, ylabel: str) -> None:
    """Label the axes of the lowest and the leftmost panels."""
    for panel in axes:
        place = panel.get_subplotspec()
        if place.is_first_col():
            panel.set_ylabel(ylabel)
        # Above a gap in the last row a panel is the lowest of its column.
        grid = place.get_gridspec()
        below = place.num1 + grid.ncols
        if below >= len(axes):
            panel.set_xlabel(xlabel)
            panel.tick_params(labelbottom=True)
    label_outermost(axes)
