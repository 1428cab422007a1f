"""Figure of how node scores change with the number of steps."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.circuits.convergence import OVERLAPS
from circuit_transfer.figures.style import COLOURS, panels, show_text

WIDTH = 5.2  # of the figure, at least: that of the legend
APART = 1.03  # of the counts at which the measures of one count are drawn
AGREEMENT = dict(
    zip(
        ("spearman", *OVERLAPS),
        (
            ("ranks of all nodes (Spearman)", COLOURS["gold"], "o"),
            ("5 highest nodes in common", COLOURS["in-distribution"], "s"),
            ("10 highest nodes in common", COLOURS["zero-shot"], "^"),
            ("highest 5 % in common", COLOURS["near-distribution"], "D"),
        ),
        strict=True,
    )
)
ERRORS = {
    "largest_change": ("largest change of a score", COLOURS["all"], "P"),
    "effect_error": ("error of the effect", COLOURS["best"], "v"),
}
Series = Mapping[str, tuple[str, str, str]]


def convergence_figure(
    compared: pl.DataFrame, *, title: str, methods: Sequence[str], configured: int
) -> Figure:
    """Draw agreement with the most steps, and errors, over the number of steps.

    One column per method: agreement above, errors below. Lines are means over tasks,
    bars go from the least to the largest task; the vertical line is at the configured
    number.

    Args:
        compared: of one model, see `tables.convergence.comparisons`.
        title: title of the figure.
        methods: in the order of the columns.
        configured: number of steps.
    """
    counts = sorted({*compared["steps"], *compared["more_steps"]})
    with_most = compared.filter(more_steps=counts[-1])
    last = with_most.filter(steps=counts[-2]).select(
        *("method", "task"), steps="more_steps", effect_error="effect_error_of_more"
    )
    errors = pl.concat([with_most, last], how="diagonal")
    width = max(3.2, WIDTH / len(methods))
    figure, axes = panels(
        2 * len(methods), columns=len(methods), width=width, height=2.2, sharey="row"
    )
    above, below = axes[: len(methods)], axes[len(methods) :]
    for method, upper, lower in zip(methods, above, below, strict=True):
        upper.set_title(method)
        _draw(upper, with_most.filter(method=method), AGREEMENT)
        # From no agreement, so that little disagreement looks like little.
        upper.set_ylim(min(0, upper.dataLim.y0), 1.05)
        _draw(lower, errors.filter(method=method), ERRORS)
        lower.set_yscale("log")
        lower.set_xlabel("steps")
        for panel in (upper, lower):
            _label_counts(panel, counts, configured)
    above[0].set_ylabel(f"agreement with {counts[-1]} steps")
    below[0].set_ylabel("relative error")
    drawn = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        drawn |= dict(zip(labels, handles, strict=True))
    if drawn:
        figure.legend(drawn.values(), drawn, loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize=9)
    return figure


def _draw(axes: Axes, rows: pl.DataFrame, series: Series) -> None:
    known = [name for name in series if rows[name].count()]
    if not known:
        show_text(axes, "-")
        return
    for number, name in enumerate(known):
        label, colour, marker = series[name]
        levels = (
            rows.drop_nulls(name)
            .group_by("steps")
            .agg(mean=pl.mean(name), low=pl.min(name), high=pl.max(name))
        )
        levels = levels.sort("steps")
        # Side by side, so that the bars do not overlap.
        places = levels["steps"] * APART ** (number - (len(known) - 1) / 2)
        axes.vlines(places, levels["low"], levels["high"], color=colour, linewidth=0.8)
        axes.plot(
            places,
            levels["mean"],
            color=colour,
            marker=marker,
            markersize=3,
            linewidth=1,
            label=label,
        )


def _label_counts(axes: Axes, counts: Sequence[int], configured: int) -> None:
    axes.set_xscale("log")
    axes.set_xticks(counts, list(map(str, counts)))
    axes.minorticks_off()
    axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
    axes.axvline(configured, color="#777777", linewidth=0.7, linestyle=":", zorder=0)
