"""Faithfulness over circuit size, and the loss over training steps."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.artifacts import Alignment
from circuit_transfer.figures.style import COLOURS, message, panels, say
from circuit_transfer.tables.curves import pair_rows

NO_CURVES = "No circuit was evaluated: there is no curve to draw."
SERIES = ("random", "gold", "in-distribution", "zero-shot")
TRAINING_COLOURS = {
    "all": COLOURS["all"],
    "only": COLOURS["in-distribution"],
    "without": COLOURS["zero-shot"],
}
PAIRS_IN_A_ROW = 4


def curves_by_pair(
    curves: pl.DataFrame,
    cpr: pl.DataFrame,
    *,
    transfers: Iterable[Mapping[str, str]],
    methods: Sequence[str],
) -> Figure:
    """Faithfulness over size, mean over tasks: a row per pair, a column per method.

    With one method the pairs stand side by side, a few in a row. Bands are one standard
    deviation over seeds.
    """
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    if not pairs or curves.is_empty():
        return message("No transfer in this study: there is no pair to draw.")
    cells = [(method, *pair) for pair in pairs for method in methods]
    columns = len(methods) if len(methods) > 1 else PAIRS_IN_A_ROW
    figure, axes = panels(
        len(cells), columns=columns, width=2.9, height=2.5, sharex=True, sharey=True
    )
    for panel, (method, source, target) in zip(axes, cells, strict=True):
        frames = (pair_rows(frame, source, target) for frame in (curves, cpr))
        _draw_curves(panel, *(_of_method(frame, method) for frame in frames))
        panel.set_title(f"{source} → {target}\n{method}")
    _label_edges(axes, "circuit size (share of nodes)", "faithfulness")
    return figure


def curves_by_task(
    curves: pl.DataFrame,
    cpr: pl.DataFrame,
    *,
    source: str | None,
    target: str,
    method: str,
    tasks: Sequence[str],
) -> Figure:
    """Faithfulness over size on every task; without a source only gold and random."""
    frames = [
        _of_method(pair_rows(frame, source, target), method) for frame in (curves, cpr)
    ]
    if frames[0].is_empty():
        return message(NO_CURVES)
    figure, axes = panels(
        len(tasks), columns=3, width=2.8, height=2.3, sharex=True, sharey=True
    )
    for panel, task in zip(axes, tasks, strict=True):
        _draw_curves(panel, *(frame.filter(pl.col("task") == task) for frame in frames))
        panel.set_title(task)
    pair = target if source is None else f"{source} → {target}"
    figure.suptitle(f"{pair}, {method}", fontsize=9)
    _label_edges(axes, "circuit size (share of nodes)", "faithfulness")
    return figure


def mean_curve(curves: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, mean faithfulness and its standard deviation over seeds.

    Tasks are averaged within each seed first, so that the deviation is that of the
    number a reader compares.
    """
    # In a fixed order: sums depend on it in the last digit, and files must not.
    seeds = curves.group_by("seed", "proportion", maintain_order=True).agg(
        pl.col("faithfulness").mean()
    )
    sizes = seeds.group_by("proportion").agg(
        mean=pl.col("faithfulness").mean(),
        deviation=pl.col("faithfulness").std().fill_null(0.0),
    )
    sizes = sizes.sort("proportion")
    return tuple(sizes[name].to_numpy() for name in ("proportion", "mean", "deviation"))


def losses(alignments: Iterable[Alignment], *, title: str) -> Figure:
    """KL and total loss over the steps of every fit of one pair and method.

    Each training set is one thin line, the mean over its seeds. Without a usable pair
    nothing was trained, and there is no line.
    """
    fits: dict[str, list[Alignment]] = {}
    for fit in alignments:
        if "loss" in fit.tensors:
            fits.setdefault(fit.metadata["training_set"], []).append(fit)
    if not fits:
        return message("No alignment was trained: there is no loss to draw.")
    figure, axes = panels(2, columns=2, width=3.2, height=2.5)
    figure.suptitle(title, fontsize=9)
    names = {"kl": "KL (clean || circuit)", "loss": "total loss (KL + sparsity)"}
    for panel, (tensor, name) in zip(axes, names.items(), strict=True):
        for training_set, seeds in sorted(fits.items()):
            kind = training_set.partition("-")[0]
            _draw_loss(panel, [fit.tensors[tensor] for fit in seeds], kind)
        panel.set(title=name, xlabel="optimiser step", ylabel="nats", ylim=(0, None))
    counts = {kind: 0 for kind in TRAINING_COLOURS}
    for training_set in fits:
        counts[training_set.partition("-")[0]] += 1
    _legend_of_losses(axes[1], counts)
    return figure


def _of_method(frame: pl.DataFrame, method: str) -> pl.DataFrame:
    return frame.filter(pl.col("method").is_in([method, "random"]))


def _draw_curves(axes: Axes, curves: pl.DataFrame, cpr: pl.DataFrame) -> None:
    # A task that corruption does not change has no faithfulness at any size.
    curves, cpr = curves.drop_nulls("faithfulness"), cpr.drop_nulls("cpr")
    if curves.is_empty():
        say(axes, "-")
        return
    for level in (0.0, 1.0):
        axes.axhline(level, color="#cccccc", linewidth=0.6, zorder=0)
    n_tasks = curves["task"].n_unique()
    for name in SERIES:
        curve = curves.filter(pl.col("regime") == name)
        if curve.is_empty():
            continue
        sizes, mean, deviation = mean_curve(curve)
        of_regime = cpr.filter(pl.col("regime") == name)
        area = of_regime.group_by("task", maintain_order=True).agg(pl.mean("cpr"))
        title = "random rankings" if name == "random" else name
        label = f"{title} {area['cpr'].mean():.2f}"
        if area.height < n_tasks:
            label += f" ({area.height}/{n_tasks} tasks)"
        axes.plot(sizes, mean, ".-", color=COLOURS[name], label=label, markersize=3)
        axes.fill_between(
            sizes,
            mean - deviation,
            mean + deviation,
            color=COLOURS[name],
            alpha=0.2,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.legend(loc="upper left", title="CPR", title_fontsize=7, alignment="left")


def _label_edges(axes: Sequence[Axes], xlabel: str, ylabel: str) -> None:
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


def _draw_loss(axes: Axes, seeds: Sequence[np.ndarray], kind: str) -> None:
    # Seeds of one training set take equally many steps, unless a fit was cut short.
    steps = min(len(seed) for seed in seeds)
    mean = np.mean([seed[:steps] for seed in seeds], axis=0)
    colour = TRAINING_COLOURS[kind]
    axes.plot(np.arange(1, steps + 1), mean, color=colour, linewidth=0.8, alpha=0.8)


def _legend_of_losses(axes: Axes, counts: Mapping[str, int]) -> None:
    names = {"all": "all tasks", "only": "one task", "without": "all tasks but one"}
    for kind, count in counts.items():
        if count:
            lines = f" ({count} lines)" if count > 1 else ""
            axes.plot([], [], color=TRAINING_COLOURS[kind], label=names[kind] + lines)
    axes.legend(title="trained on", title_fontsize=7, alignment="left")
