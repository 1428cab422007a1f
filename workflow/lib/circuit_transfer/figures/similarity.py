"""Figures of the similarity of projections to gold scores, and of stability."""

from collections.abc import Mapping, Sequence

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
from circuit_transfer.tables.curves import shown_protocols
from circuit_transfer.tables.edge_transfers import size_label
from circuit_transfer.tables.similarity import CORRELATIONS, similarity_means
from circuit_transfer.transfer.correlation import CHANCE, DEPTH, GOLD, RANDOM
from circuit_transfer.transfer.training_sets import ONE_PROTOCOL, PROTOCOLS

# As in `style`, but with green for the source.
SERIES = COLOURS | {DEPTH: "#009E73", "source": "#009E73"}
SERIES |= {RANDOM: COLOURS["random"], CHANCE: "#000000"}
MARKERS = dict(zip(CORRELATIONS, ("o", "D"), strict=True))
ENOUGH = 0.8  # the Jaccard index above which a circuit is called stable
APART = 1.08  # horizontal distance of two circuits, as a factor (log scale)
STABLE = ("source", "gold", "in-distribution", PROTOCOLS["family"])
STABLE += (*ONE_PROTOCOL.values(),)


def correlations_figure(
    comparisons: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Maps,
) -> Figure:
    """Draw correlations (top) and Jaccard indices by size (bottom) with gold.

    One column per method; means over tasks, then over seeds, with one standard
    deviation over seeds.

    Args:
        comparisons: rows of `correlation.compare_projections`.
        source: name of the source model.
        target: name of the target model.
        maps: by method, in the order of the columns; the main one is drawn.
    """
    mains, methods = main_maps(maps), [*maps]
    main = pl.col("method").replace_strict(mains, default=None, return_dtype=pl.String)
    ours = pl.col("map").is_null() | (pl.col("map") == main)
    frame = comparisons.filter(ours, source=source, target=target, right=GOLD)
    if frame.is_empty():
        return message("No projection was compared: there is nothing to draw.")
    means = similarity_means(frame)
    zero_shot = shown_protocols(frame["regime"]).values()
    rows = (DEPTH, RANDOM, "in-distribution", *zero_shot)
    # Wide enough for the legend below the panels, even with a single panel.
    width = max(2.9, 5.6 / len(methods))
    figure, axes = panels(
        2 * len(methods), columns=len(methods), width=width, height=2.3, sharey="row"
    )
    for panel, method in zip(axes, methods, strict=False):
        _draw_correlations(panel, means.filter(method=method), rows)
        panel.set_title(method)
    for panel, method in zip(axes[len(methods) :], methods, strict=True):
        of_method = means.filter(method=method, measure="jaccard")
        _draw_shared(panel, of_method, rows)
        panel.set_xlabel(size_label([method]))
    axes[0].set_ylabel("correlation with gold")
    axes[len(methods)].set_ylabel("Jaccard index with gold")
    label_outermost(axes)
    named = " or ".join(dict.fromkeys(mains.values()))
    figure.suptitle(f"{source} → {target}, map {named}", fontsize=9)
    _legend(figure, rows)
    return figure


def _draw_correlations(axes: Axes, means: pl.DataFrame, rows: Sequence[str]) -> None:
    if means.is_empty():
        show_text(axes, "-")
        return
    axes.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
    for number, measure in enumerate(CORRELATIONS):
        for place, row in enumerate(rows):
            cell = means.filter(projection=row, measure=measure)
            if cell.is_empty():
                continue
            axes.errorbar(
                place + 0.24 * (number - 0.5),
                cell["mean"].item(),
                yerr=cell["deviation"].fill_null(0.0).item(),
                fmt=MARKERS[measure],
                color=SERIES[row],
                markerfacecolor=SERIES[row] if number == 0 else "white",
                markersize=5,
                capsize=2,
            )
    axes.set_xticks(range(len(rows)), rows, rotation=30, ha="right")
    axes.margins(x=0.08, y=0.12)


def _draw_shared(axes: Axes, means: pl.DataFrame, rows: Sequence[str]) -> None:
    if means.is_empty():
        show_text(axes, "-")
        return
    chance = means.filter(projection=CHANCE).sort("proportion")
    axes.plot(chance["proportion"], chance["mean"], ":", color=SERIES[CHANCE])
    for row in rows:
        line = means.filter(projection=row).sort("proportion")
        sizes, mean = line["proportion"], line["mean"]
        deviation = line["deviation"].fill_null(0.0)
        axes.plot(sizes, mean, ".-", color=SERIES[row], markersize=4)
        axes.fill_between(
            sizes,
            mean - deviation,
            mean + deviation,
            color=SERIES[row],
            alpha=0.15,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.03)


def _legend(figure: Figure, rows: Sequence[str]) -> None:
    grey = "#555555"
    faces = zip(MARKERS.items(), (grey, "white"), strict=True)
    handles = [
        Line2D(
            [],
            [],
            color=grey,
            linestyle="",
            marker=marker,
            markerfacecolor=face,
            label=name.capitalize(),
        )
        for (name, marker), face in faces
    ]
    handles += [Line2D([], [], color=SERIES[row], label=row) for row in rows]
    handles.append(Line2D([], [], color=SERIES[CHANCE], linestyle=":", label=CHANCE))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def stability_figure(
    stability: pl.DataFrame,
    *,
    title: str,
    names: Mapping[str, str],
    tasks: Sequence[str],
) -> Figure:
    """Draw the Jaccard index of circuits with those of resampled examples, by size.

    One panel per task; lines are means and bars 95 % intervals over resamples, for
    transferred circuits averaged over seeds.

    Args:
        stability: rows of `similarity.bootstrap_jaccard` with `circuit` (only those in
            `STABLE` are drawn), `task` and `seed`.
        title: title of the figure.
        names: legend labels of the circuits.
        tasks: in the order of the panels.
    """
    if stability.is_empty():
        return message("No task was scored: there is no circuit to resample.")
    drawn = [name for name in STABLE if name in stability["circuit"]]
    width = max(2.8, 5.6 / len(tasks))
    figure, axes = panels(
        len(tasks), columns=3, width=width, height=2.2, sharex=True, sharey=True
    )
    for panel, task in zip(axes, tasks, strict=True):
        panel.set_title(task)
        _draw_stability(panel, stability.filter(task=task), drawn)
        place = panel.get_subplotspec()
        if place.is_first_col():
            panel.set_ylabel("Jaccard index")
        if place.num1 + place.get_gridspec().ncols >= len(axes):
            panel.set_xlabel("circuit size (share of nodes)")
            panel.tick_params(labelbottom=True)
    label_outermost(axes)
    handles = [Line2D([], [], color=SERIES[name]) for name in drawn]
    labels = [names.get(name, name) for name in drawn]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize=9)
    return figure


def _draw_stability(
    axes: Axes, stability: pl.DataFrame, circuits: Sequence[str]
) -> None:
    if stability.is_empty():
        show_text(axes, "-")
        return
    axes.axhline(ENOUGH, color="#777777", linestyle="--", linewidth=0.8)
    axes.text(
        1, ENOUGH, f"{ENOUGH:g}", ha="right", va="bottom", fontsize=6, color="#555555"
    )
    for number, name in enumerate(circuits):
        line = stability.filter(circuit=name).group_by("proportion")
        line = line.agg(pl.col("jaccard", "low", "high").mean(), pl.first("n_nodes"))
        # Sizes that round to the same circuit are one point.
        line = line.sort("proportion").unique("n_nodes", keep="first")
        line = line.sort("proportion")
        # Side by side, so that the intervals do not overlap.
        places = line["proportion"] * APART ** (number - (len(circuits) - 1) / 2)
        # Not error bars, since a skewed distribution can have its mean outside.
        axes.vlines(places, line["low"], line["high"], color=SERIES[name], linewidth=1)
        axes.plot(places, line["jaccard"], ".-", color=SERIES[name], linewidth=1)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.06)
