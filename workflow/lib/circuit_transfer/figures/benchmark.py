"""Figures of time and memory relative to bare passes, and of their scaling."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit_transfer.benchmarking.entries import FORWARD, FORWARD_BACKWARD
from circuit_transfer.figures.style import COLOURS, message, panels
from circuit_transfer.tables.benchmark import ON, benchmark_rows, scaling_slopes

BARE = (FORWARD, FORWARD_BACKWARD)
# Without and with a shared prefix.
BARS = (COLOURS["in-distribution"], COLOURS["zero-shot-family"])
MEASURES = {
    "ratio": ("limit", "seconds relative to ideal bare passes"),
    "memory_ratio": ("memory_limit", "memory relative to forward and backward pass"),
}
COLUMNS = 2
COLOUR_CYCLE = [COLOURS[name] for name in COLOURS if name not in ("gold", "random")]
LINE_STYLES = ("-", "--", ":")


def benchmark_figure(measured: pl.DataFrame) -> Figure:
    """Draw seconds and memory of every computation relative to bare passes, as bars.

    One bar per length of the shared prefix, with a line at the limit.

    Args:
        measured: of one benchmark, as for `tables.benchmark.benchmark_rows`.
    """
    rows = benchmark_rows(measured).filter(~pl.col("case").is_in(BARE))
    if rows.is_empty():
        return message("Nothing was measured: there is nothing to draw.")
    cases = rows["case"].unique(maintain_order=True).to_list()
    figure, axes = panels(
        len(MEASURES), columns=2, width=3.6, height=0.8 + 0.3 * len(cases), sharey=True
    )
    for panel, (measure, (limit, label)) in zip(axes, MEASURES.items(), strict=True):
        _draw_bars(panel, rows, cases, measure, limit)
        panel.set_title(label)
    axes[0].set_yticks(range(len(cases)), cases)
    axes[0].invert_yaxis()
    shared = rows["shared"].unique(maintain_order=True).to_list()
    names = [
        f"shared prefix: {count} of {rows['positions'][0]} tokens" for count in shared
    ]
    handles = [Patch(color=colour) for colour in BARS[: len(shared)]]
    handles.append(Line2D([], [], color="black", linewidth=2))
    figure.legend(handles, [*names, "limit"], loc="outside lower center", ncols=3)
    title = "\n".join(rows.select(*ON).row(0))
    figure.suptitle(title, fontsize=8)
    return figure


def scaling_figure(measured: pl.DataFrame) -> Figure:
    """Draw seconds over size, both log scale, with fitted slopes; a panel per axis.

    Args:
        measured: of one benchmark, as for `tables.benchmark.scaling_slopes`.
    """
    rows = scaling_slopes(measured)
    if rows.is_empty():
        return message("Nothing was varied: there is nothing to draw.")
    by_axis = rows.partition_by("axis", maintain_order=True)
    cases = [c for c in rows["case"].unique(maintain_order=True) if c not in BARE]
    styles = {
        case: (
            COLOUR_CYCLE[place % len(COLOUR_CYCLE)],
            LINE_STYLES[place // len(COLOUR_CYCLE) % len(LINE_STYLES)],
        )
        for place, case in enumerate(cases)
    }
    styles |= {
        FORWARD: (COLOURS["random"], "-"),
        FORWARD_BACKWARD: (COLOURS["gold"], "-"),
    }
    figure, axes = panels(len(by_axis), columns=COLUMNS, width=4.4, height=3.0)
    for panel, of_axis in zip(axes, by_axis, strict=True):
        _draw_growth(panel, of_axis, styles)
    figure.suptitle("\n".join(rows.select(*ON).row(0)), fontsize=8)
    return figure


def _draw_bars(
    axes: Axes, rows: pl.DataFrame, cases: Sequence[str], measure: str, limit: str
) -> None:
    kinds = rows.partition_by("shared", maintain_order=True)
    height = 0.8 / len(kinds)
    for number, (of_kind, colour) in enumerate(zip(kinds, BARS, strict=False)):
        places = [cases.index(case) for case in of_kind["case"]]
        shift = (number - (len(kinds) - 1) / 2) * height
        axes.barh(
            [place + shift for place in places], of_kind[measure], height, color=colour
        )
    limits = rows.unique("case").filter(pl.col(limit).is_not_null())
    places = np.array([cases.index(case) for case in limits["case"]])
    axes.vlines(limits[limit], places - 0.45, places + 0.45, color="black", linewidth=2)
    axes.axvline(1, color="#777777", linewidth=0.7, linestyle=":")
    axes.tick_params(axis="y", length=0)


def _draw_growth(
    axes: Axes, rows: pl.DataFrame, styles: dict[str, tuple[str, str]]
) -> None:
    for row in rows.iter_rows(named=True):
        colour, line = styles[row["case"]]
        slope = "-" if row["slope"] is None else f"{row['slope']:.2f}"
        axes.plot(
            row["sizes"],
            row["seconds"],
            color=colour,
            linestyle=line,
            marker=".",
            markersize=4,
            linewidth=1.0,
            label=f"{slope}  {row['case']}",
        )
    sizes = rows["sizes"].explode().unique().sort().to_list()
    axes.set(xscale="log", yscale="log", xlabel=rows["axis"][0], ylabel="seconds")
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.minorticks_off()
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), title="slope", title_fontsize=7
    )
