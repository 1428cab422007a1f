"""Circuits compared by one number each: recovery, controls, tasks against tasks."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from circuit_transfer.figures.style import (
    COLOURS,
    heatmap,
    matrix_panels,
    message,
    panels,
    say,
)
from circuit_transfer.tables.curves import RANKINGS, named_rows, pair_means, pair_rows
from circuit_transfer.tables.layouts import recovery

RECOVERED = ("in-distribution", "zero-shot", "best")
NO_TRANSFER = "No transfer was evaluated: there is no aligned circuit to draw."


def recovery_bars(
    cpr: pl.DataFrame,
    *,
    transfers: Iterable[Mapping[str, str]],
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Figure:
    """Share of the gold CPR recovered: mean and deviation over tasks, by pair."""
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    if not pairs:
        return message(NO_TRANSFER)
    figure, axes = panels(len(pairs), columns=3, width=3.4, height=2.6, sharey=True)
    width = 0.8 / len(RECOVERED)
    for panel, pair in zip(axes, pairs, strict=True):
        shares = recoveries(cpr, *pair, methods=methods, tasks=tasks)
        for number, row in enumerate(RECOVERED):
            places = np.arange(len(methods)) + (number - 1) * width
            means = [_mean(shares[method, row]) for method in methods]
            deviations = [_deviation(shares[method, row]) for method in methods]
            panel.bar(
                places,
                means,
                width,
                yerr=deviations,
                color=COLOURS[row],
                label=row,
                capsize=2,
                error_kw={"linewidth": 0.8},
            )
        panel.axhline(1, color="black", linestyle="--", linewidth=0.8)
        panel.set_xticks(range(len(methods)), methods, rotation=20, ha="right")
        panel.set_title(" → ".join(pair))
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("CPR aligned / CPR gold")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(RECOVERED))
    return figure


def recoveries(
    cpr: pl.DataFrame,
    source: str,
    target: str,
    *,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> dict[tuple[str, str], list[float]]:
    """The recovery of every task that has one, by method and regime."""
    means = pair_means(cpr, source, target)
    shares = {}
    for method in methods:
        golds = [means.get((method, "gold", task)) for task in tasks]
        for row in RECOVERED:
            aligned = [means.get((method, row, task)) for task in tasks]
            of_row = map(recovery, aligned, golds)
            shares[method, row] = [share for share in of_row if share is not None]
    return shares


def transfer_matrices(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Figure:
    """CPR of training on one task and evaluating on another, a panel per method."""
    matrices = [
        transfer_matrix(cpr, source, target, method=method, tasks=tasks)
        for method in methods
    ]
    if not np.isfinite(matrices).any():
        return message(NO_TRANSFER)
    figure, axes = matrix_panels(len(methods), len(tasks))
    norm = Normalize(np.nanmin(matrices), np.nanmax(matrices))
    for panel, method, matrix in zip(axes, methods, matrices, strict=True):
        image = heatmap(
            panel, matrix, rows=tasks, columns=tasks, colours="viridis", norm=norm
        )
        panel.set(title=method, xlabel="evaluated on")
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("trained on")
    figure.colorbar(image, ax=axes, label="CPR", shrink=0.6)
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def transfer_matrix(
    cpr: pl.DataFrame, source: str, target: str, *, method: str, tasks: Sequence[str]
) -> np.ndarray:
    """Mean CPR over seeds `(training task, evaluated task)`, NaN where none is."""
    frame = pair_rows(cpr, source, target).filter(
        (pl.col("control") == "none") & (pl.col("method") == method)
    )
    frame = frame.group_by("training_set", "task").agg(pl.col("cpr").mean())
    cells = {(trained, task): value for trained, task, value in frame.iter_rows()}
    rows = [[cells.get((f"only-{row}", column)) for column in tasks] for row in tasks]
    return np.array(rows, dtype=float)


def controls_figure(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    methods: Sequence[str],
    controls: Sequence[str],
) -> Figure:
    """CPR of gold, aligned and control circuits, mean over tasks, panel per method.

    Bars are one standard deviation over seeds (of the rankings, for random ones).
    """
    frame = named_rows(pair_rows(cpr, source, target)).drop_nulls("cpr")
    rows = ["gold", "in-distribution", "zero-shot", *controls, RANKINGS]
    rows = [row for row in rows if row in frame["row"]]
    if not rows:
        return message(NO_TRANSFER)
    height = 0.9 + 0.24 * len(rows)
    figure, axes = panels(
        len(methods), columns=3, width=3.0, height=height, sharey=True, sharex=True
    )
    for panel, method in zip(axes, methods, strict=True):
        of_method = frame.filter(pl.col("method").is_in([method, "random"]))
        _draw_dots(panel, of_method, rows)
        panel.set(title=method, xlabel="CPR, mean over tasks")
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].invert_yaxis()
    figure.suptitle(f"{source} → {target}", fontsize=9)
    return figure


def _draw_dots(axes: Axes, frame: pl.DataFrame, rows: Sequence[str]) -> None:
    if frame.is_empty():
        say(axes, "-")
        return
    for place, row in enumerate(rows):
        of_row = frame.filter(pl.col("row") == row)
        if of_row.is_empty():
            continue
        by_seed = of_row.group_by("seed", maintain_order=True).agg(pl.mean("cpr"))
        seeds = by_seed["cpr"].to_list()
        mean, deviation = _mean(seeds), _deviation(seeds)
        colour = COLOURS.get(row, COLOURS["random"])
        axes.errorbar(
            mean, place, xerr=deviation, fmt="o", color=colour, capsize=2, markersize=4
        )
        axes.annotate(
            f"{mean:.2f}",
            (mean, place),
            (0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6,
        )
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.margins(x=0.12)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
