"""What transferred circuits recover of the gold circuit, by pair and method."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit_transfer.figures.style import (
    COLOURS,
    NO_TRANSFER,
    mark_exaggeration,
    message,
    panels,
)
from circuit_transfer.tables.by_method import Maps, main_maps
from circuit_transfer.tables.curves import shown_protocols
from circuit_transfer.tables.explanations import BEST_BY_CPR
from circuit_transfer.tables.measures import ACCURACY, CMD, exaggerates
from circuit_transfer.tables.transfers import Pair

# What a bar is, and the label of its axis.
BARS = {
    "recovery": "CPR aligned / CPR gold",
    CMD.column: f"{CMD.name} ({CMD.direction})",
    ACCURACY.column: ACCURACY.name,
}
GOLD = {"color": "black", "linestyle": "--", "linewidth": 0.8}


def recovery_bars(
    statistics: pl.DataFrame,
    *,
    transfers: Iterable[Mapping[str, str]],
    maps: Maps,
) -> Figure:
    """Draw what circuits recover of the gold one, mean over tasks: a row per pair.

    Side by side the share of the gold CPR, and CMD and accuracy area with those of the
    gold circuit as lines. Bars are the 95 % interval over examples. CPRs of circuits
    that exaggerate are marked.
    """
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    if not pairs:
        return message(NO_TRANSFER)
    figure, axes = panels(
        len(BARS) * len(pairs),
        columns=len(BARS),
        width=3.2,
        height=2.4,
        sharex=True,
        sharey="col",
    )
    zero_shot = shown_protocols(statistics["circuit"]).values()
    circuits = ("in-distribution", *zero_shot, "best")
    for models, row in zip(pairs, np.reshape(axes, (-1, len(BARS))), strict=True):
        pair = Pair(statistics, *models)
        for panel, (value, label) in zip(row, BARS.items(), strict=True):
            levels = {
                circuit: [
                    pair.level(method, circuit, name=name)
                    for method, name in main_maps(maps).items()
                ]
                for circuit in (*circuits, "gold")
            }
            _draw_bars(panel, levels, value)
            panel.set_xticks(range(len(maps)), [*maps], rotation=20, ha="right")
            panel.set_ylabel(label)
        row[len(BARS) // 2].set_title(" → ".join(models))
    names = {circuit: circuit for circuit in circuits} | {"best": BEST_BY_CPR}
    handles = [Patch(color=COLOURS[each], label=name) for each, name in names.items()]
    handles.append(Line2D([], [], label="gold", **GOLD))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_bars(axes: Axes, levels: Mapping[str, Sequence[Mapping]], value: str) -> None:
    """Draw a bar per circuit side by side at every method, and a line for gold."""
    *circuits, _ = levels
    width = 0.8 / len(circuits)
    for number, circuit in enumerate(circuits):
        middle = (len(circuits) - 1) / 2
        found = levels[circuit]
        places = np.arange(len(found)) + (number - middle) * width
        axes.bar(places, _heights(found, value), width, color=COLOURS[circuit])
        _error_bars(axes, places, found, value)
        if value == "recovery":
            _mark_exaggeration(axes, places, found)
    if value == "recovery":
        axes.axhline(1, **GOLD)
        return
    for place, height in enumerate(_heights(levels["gold"], value)):
        axes.plot([place - 0.45, place + 0.45], [height] * 2, **GOLD)


def _mark_exaggeration(
    axes: Axes, places: Iterable[float], levels: Iterable[Mapping]
) -> None:
    for place, level in zip(places, levels, strict=True):
        ends = [level.get(end) for end in ("recovery", "recovery_high")]
        heights = [end for end in ends if end is not None]
        if exaggerates(level) and heights:
            mark_exaggeration(axes, place, max(heights))


def _heights(levels: Iterable[Mapping], value: str) -> list[float]:
    shares = [level.get(value) for level in levels]
    return [np.nan if share is None else share for share in shares]


def _error_bars(
    axes: Axes, places: Iterable[float], levels: Iterable[Mapping], value: str
) -> None:
    for place, level in zip(places, levels, strict=True):
        ends = (level.get(f"{value}_low"), level.get(f"{value}_high"))
        if None not in ends:
            axes.plot([place, place], ends, color="black", linewidth=0.9)
