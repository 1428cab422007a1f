"""Circuits compared by one number each: recovery, controls, tasks against tasks."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import (
    COLOURS,
    heatmap,
    label_outermost,
    matrix_panels,
    message,
    panels,
    say,
)
from circuit_transfer.tables.curves import (
    RANKINGS,
    of_map,
    pair_rows,
    shown_protocols,
)
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.transfer.training_sets import (
    Families,
    left_out_sets,
    study_protocols,
)

NO_TRANSFER = "No transfer was evaluated: there is no aligned circuit to draw."
LEFT_OUT = {
    "task": "all but the task",
    "family": "all but its family",
    "task = family": "all but the task (its family)",
}
# What was left out of training, or nothing: colour and marker.
MARKERS = {
    "task": (COLOURS["zero-shot"], "o"),
    "family": (COLOURS["zero-shot-family"], "D"),
    "task = family": (COLOURS["zero-shot-family"], "D"),
    None: ("#555555", "s"),
}
# Where its number stands beside a panel.
ASIDE = {"task": 12, "family": 34, "task = family": 23, None: 23}
# What a map is given: label, colour and marker.
GIVEN = {
    "real": ("the task's source scores", "#000000", "o"),
    "source-free": ("a constant", "#009E73", "s"),
    "random-source": ("shuffled scores", "#999999", "v"),
    "other-family": ("another family's scores", "#D55E00", "D"),
}
LEVELS = {"gold": ("#000000", "-"), "node-changes": ("#0072B2", "--")}


def recovery_bars(
    statistics: pl.DataFrame,
    *,
    transfers: Iterable[Mapping[str, str]],
    map_name: str,
    methods: Sequence[str],
) -> Figure:
    """Share of the gold CPR recovered, mean over tasks, by pair and method.

    Bars are the 95 % interval over examples.
    """
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    if not pairs:
        return message(NO_TRANSFER)
    figure, axes = panels(len(pairs), columns=3, width=3.6, height=2.6, sharey=True)
    zero_shot = shown_protocols(statistics["circuit"]).values()
    recovered = ("in-distribution", *zero_shot, "best")
    width = 0.8 / len(recovered)
    for panel, models in zip(axes, pairs, strict=True):
        pair = Pair(statistics, *models)
        for number, row in enumerate(recovered):
            middle = (len(recovered) - 1) / 2
            places = np.arange(len(methods)) + (number - middle) * width
            found = [pair.level(method, row, name=map_name) for method in methods]
            panel.bar(places, _heights(found), width, color=COLOURS[row], label=row)
            _error_bars(panel, places, found, "recovery")
        panel.axhline(1, color="black", linestyle="--", linewidth=0.8)
        panel.set_xticks(range(len(methods)), methods, rotation=20, ha="right")
        panel.set_title(" → ".join(models))
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("CPR aligned / CPR gold")
    handles, labels = axes[0].get_legend_handles_labels()
    # Under a single panel there is no room for all of them side by side.
    columns = len(recovered) if len(axes) > 1 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return figure


def _heights(levels: Iterable[Mapping]) -> list[float]:
    shares = [level.get("recovery") for level in levels]
    return [np.nan if share is None else share for share in shares]


def _error_bars(
    axes: Axes, places: Iterable[float], levels: Iterable[Mapping], value: str
) -> None:
    for place, level in zip(places, levels, strict=True):
        ends = (level.get(f"{value}_low"), level.get(f"{value}_high"))
        if None not in ends:
            axes.plot([place, place], ends, color="black", linewidth=0.9)


def transfer_matrices(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    map_name: str,
    methods: Sequence[str],
    tasks: Sequence[str],
    families: Families,
) -> Figure:
    """CPR of training on one task and evaluating on another, a panel per method.

    Below them, what training without the task, or its family, gives on it.
    """
    cpr = of_map(pair_rows(cpr, source, target), map_name).filter(control="none")
    matrices = [
        transfer_matrix(cpr.filter(method=method), tasks=tasks, families=families)
        for method in methods
    ]
    if not np.isfinite(matrices).any():
        return message(NO_TRANSFER)
    rows = [*tasks, *(LEFT_OUT[protocol] for protocol in study_protocols(families))]
    figure, axes = matrix_panels(len(methods), len(tasks), rows=len(rows))
    norm = Normalize(np.nanmin(matrices), np.nanmax(matrices))
    for panel, method, matrix in zip(axes, methods, matrices, strict=True):
        image = heatmap(
            panel, matrix, rows=rows, columns=tasks, colours="viridis", norm=norm
        )
        panel.axhline(len(tasks) - 0.5, color="white", linewidth=3)
        panel.set(title=method, xlabel="evaluated on")
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("trained on")
    shrink = 0.6 / axes[0].get_gridspec().nrows
    figure.colorbar(image, ax=axes, label="CPR", shrink=shrink)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def transfer_matrix(
    cpr: pl.DataFrame, *, tasks: Sequence[str], families: Families
) -> np.ndarray:
    """Mean CPR over seeds `(training set, evaluated task)`, NaN where none is.

    A row for every task alone, and one for every protocol: for all but the evaluated
    task, and for all but its family.
    """
    frame = cpr.group_by("training_set", "task").agg(pl.col("cpr").mean())
    cells = {(trained, task): value for trained, task, value in frame.iter_rows()}
    rows = [[cells.get((f"only-{row}", column)) for column in tasks] for row in tasks]
    left_out = {task: left_out_sets(task, families) for task in tasks}
    for protocol in study_protocols(families):
        rows.append([cells.get((left_out[task][protocol], task)) for task in tasks])
    return np.array(rows, dtype=float)


def controls_figure(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    map_name: str,
    methods: Sequence[str],
    controls: Sequence[str],
) -> Figure:
    """CPR of gold, aligned and control circuits, mean over tasks, panel per method.

    A mark for training without the task, one for training without its family. Thin
    bars are the 95 % interval over examples, pale ones a standard deviation over seeds.
    """
    pair = Pair(statistics, source, target)
    zero_shot, *_ = pair.protocols.values()
    rows = ["gold", "in-distribution", zero_shot, *controls, RANKINGS]
    rows = [row for row in rows if pair.has(row)]
    if not rows:
        return message(NO_TRANSFER)
    height = 1.3 + 0.24 * len(rows)
    figure, axes = panels(
        len(methods), columns=3, width=3.2, height=height, sharey=True, sharex=True
    )
    for panel, method in zip(axes, methods, strict=True):
        _draw_dots(panel, pair, rows, method=method, name=map_name)
        panel.set(title=method, xlabel="CPR, mean over tasks")
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].invert_yaxis()
    label_outermost(axes)
    _protocol_legend(figure, pair.protocols)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def maps_figure(
    statistics: pl.DataFrame,
    *,
    source: str,
    target: str,
    maps: Sequence[str],
    methods: Sequence[str],
) -> Figure:
    """CPR of every map by the source scores that it is given, panel per method.

    Trained, if at all, on all but the task's family; mean over tasks. Bars are the 95 %
    interval over examples. Lines: the gold circuit, and scores of the target alone.
    """
    pair = Pair(statistics, source, target)
    *_, zero_shot = pair.protocols.values()
    if not pair.has(zero_shot):
        return message(NO_TRANSFER)
    height = 1.2 + 0.3 * len(maps)
    figure, axes = panels(
        len(methods), columns=3, width=3.2, height=height, sharey=True, sharex=True
    )
    for panel, method in zip(axes, methods, strict=True):
        _draw_maps(panel, pair, maps, method)
        panel.set(title=method, xlabel="CPR, mean over tasks")
    axes[0].set_yticks(range(len(maps)), maps)
    axes[0].invert_yaxis()
    label_outermost(axes)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for label, colour, marker in GIVEN.values()
    ]
    handles += [
        Line2D([], [], color=colour, linestyle=style, linewidth=0.8, label=circuit)
        for circuit, (colour, style) in LEVELS.items()
    ]
    columns = len(handles) if len(methods) > 2 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def _draw_maps(axes: Axes, pair: Pair, names: Sequence[str], method: str) -> None:
    *_, (protocol, aligned) = pair.protocols.items()
    circuits = {given: aligned if given == "real" else given for given in GIVEN}
    found = {
        (place, given): level
        for place, name in enumerate(names)
        for given, circuit in circuits.items()
        if (level := pair.level(method, circuit, name=name, protocol=protocol))
    }
    if not found:
        say(axes, "-")
        return
    for circuit, (colour, style) in LEVELS.items():
        level = pair.level(method, circuit, name="", protocol=protocol)
        if level:
            line = {"color": colour, "linestyle": style, "linewidth": 0.8}
            axes.axvline(level["cpr"], zorder=0, **line)
    for (place, given), level in found.items():
        _, colour, marker = GIVEN[given]
        # Real scores on the line of their map, their controls just below.
        lower = place + 0.1 * list(GIVEN).index(given)
        ends = (level["cpr_low"], level["cpr_high"])
        if None not in ends:
            axes.plot(ends, [lower] * 2, color=colour, linewidth=1)
        axes.plot(level["cpr"], lower, marker, color=colour, markersize=4)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.margins(x=0.08)


def _draw_dots(
    axes: Axes, pair: Pair, rows: Sequence[str], *, method: str, name: str
) -> None:
    if not any(pair.level(method, row, name=name) for row in rows if row != RANKINGS):
        say(axes, "-")
        return
    zero_shot, *_ = pair.protocols.values()
    middle = (len(pair.protocols) - 1) / 2
    for place, row in enumerate(rows):
        for number, (protocol, aligned) in enumerate(pair.protocols.items()):
            circuit = aligned if row == zero_shot else row
            level = pair.level(method, circuit, name=name, protocol=protocol)
            if not level:
                continue
            if row == zero_shot:
                line = {"color": MARKERS[protocol][0], "linewidth": 0.6, "alpha": 0.6}
                axes.axvline(level["cpr"], zorder=0, **line)
            if level["protocol"] is None:
                _draw_dot(axes, level, place)
                break
            _draw_dot(axes, level, place + 0.3 * (number - middle))
    for protocol in pair.protocols:
        _beside(axes, protocol, -0.7, protocol)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.margins(x=0.08)


def _draw_dot(axes: Axes, level: Mapping, place: float) -> None:
    colour, marker = MARKERS[level["protocol"]]
    cpr, deviation = level["cpr"], level["seed_deviation"] or 0.0
    ends = (cpr - deviation, cpr + deviation)
    axes.plot(ends, [place] * 2, color=colour, linewidth=5, alpha=0.25, zorder=1)
    ends = (level["cpr_low"], level["cpr_high"])
    if None not in ends:
        axes.plot(ends, [place] * 2, color=colour, linewidth=1)
    axes.plot(cpr, place, marker, color=colour, markersize=3.2, zorder=3)
    _beside(axes, f"{cpr:.2f}", round(place), level["protocol"])


def _beside(axes: Axes, text: str, place: float, protocol: str | None) -> None:
    # Beside the panel, in columns: numbers at the marks would overlap.
    axes.annotate(
        text,
        (1, place),
        (ASIDE[protocol], 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=6,
        annotation_clip=False,
    )


def _protocol_legend(figure: Figure, protocols: Iterable[str]) -> None:
    names = {key: f"trained on {LEFT_OUT[key]}" for key in protocols}
    names[None] = "no such training"
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for label, (colour, marker) in zip(
            names.values(), map(MARKERS.get, names), strict=True
        )
    ]
    # Under a single panel there is no room for all of them side by side.
    columns = len(handles) if len(figure.axes) > 1 else 1
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, markerscale=0.6
    )
