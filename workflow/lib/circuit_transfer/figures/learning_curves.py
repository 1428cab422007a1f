"""What learned circuits lose while their gates close: the curves of training."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter, SymmetricalLogLocator

from circuit_transfer.artifacts.edge_masks import EdgeMasks
from circuit_transfer.figures.style import (
    COLOURS,
    message,
    panels,
    plain_log_ticks,
    show_text,
)

NO_TRAINING = "No circuit was trained: there is no curve to draw."
# A colour and a line for each size: the colours in turn, in every round other lines.
LINE_COLOURS = [
    COLOURS[each] for each in ("in-distribution", "zero-shot", "near-distribution")
]
LINES = [
    (colour, ("-", "--", "-.")[(place + turn) % 3])
    for turn in range(3)
    for place, colour in enumerate(LINE_COLOURS)
]
# By the name of a curve, the title of its row; the target is drawn beside it.
CURVES = {"loss": "loss", "kl": "KL (nats)", "open_share": "share of edges open"}
TARGETS = {"open_share": "target"}
# Of the examples of a single step.
NOISY = ("loss", "kl")
ONE_TRAINING = ("one training for all sizes", (COLOURS["gold"], "-"))


def learning_curves(masks: Iterable[EdgeMasks], *, model: str) -> Figure:
    """Draw loss, KL and share of open edges over the steps, a column for each method.

    Lines are means over tasks and seeds, one for each size; bands go from the lowest to
    the highest training. Loss and KL are running means over a twentieth of the steps.
    Dotted is the target of the share.

    Args:
        masks: learned circuits of a model, of every task, method and seed.
        model: the model.
    """
    by_method: dict[str, list[EdgeMasks]] = {}
    for each in masks:
        if each.curves:
            by_method.setdefault(each.metadata["method"], []).append(each)
    names = [
        name
        for name in CURVES
        if any(name in each.curves for found in by_method.values() for each in found)
    ]
    if not names:
        return message(NO_TRAINING)
    count = len(names) * len(by_method)
    figure, axes = panels(
        count, columns=len(by_method), width=2.3, height=1.9, sharex="col"
    )
    cells = [(name, method) for name in names for method in by_method]
    for panel, (name, method) in zip(axes, cells, strict=True):
        _draw(panel, by_method[method], name)
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(method)
        if place.is_first_col():
            panel.set_ylabel(CURVES[name])
    for column in range(len(by_method)):
        # Below it there may be a panel without a curve, which has no axis.
        lowest = [each for each in axes[column :: len(by_method)] if each.lines][-1]
        lowest.set_xlabel("step")
        lowest.tick_params(labelbottom=True)
    sizes = max((found[0].sizes for found in by_method.values()), key=len)
    looks = {f"{100 * size:g} % of the edges": look for size, look in _styled(sizes)}
    used = {(each.get_color(), each.get_linestyle()) for p in axes for each in p.lines}
    handles = [
        Line2D([], [], color=colour, linestyle=line, label=name)
        for name, (colour, line) in (looks | {ONE_TRAINING[0]: ONE_TRAINING[1]}).items()
        if (colour, line) in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.suptitle(f"{model}, mean over tasks and seeds", fontsize=9)
    return figure


def _styled(sizes: Sequence[float]) -> list[tuple[float, tuple[str, str]]]:
    return [(size, LINES[place % len(LINES)]) for place, size in enumerate(sizes)]


def _draw(axes: Axes, found: Sequence[EdgeMasks], name: str) -> None:
    known = [each for each in found if name in each.curves]
    if not known:
        show_text(axes, "-")
        return
    curves = trainings([each.curves for each in known], name)
    if name in NOISY:
        curves = smoothed(curves)
    steps = np.arange(1, curves.shape[-1] + 1)
    sizes = [] if np.ptp(curves, axis=1).any() else [ONE_TRAINING]
    for place, (_, (colour, line)) in enumerate(sizes or _styled(known[0].sizes)):
        of_size = curves[:, place]
        axes.plot(steps, of_size.mean(0), color=colour, linestyle=line, linewidth=1)
        band = of_size.min(0), of_size.max(0)
        axes.fill_between(steps, *band, color=colour, alpha=0.15, linewidth=0)
        if TARGETS.get(name) in known[0].curves:
            target = trainings([each.curves for each in known], TARGETS[name])
            drawn = target[:, place].mean(0)[: len(steps)]
            axes.plot(steps, drawn, color=colour, linestyle=":", linewidth=1)
    if name == "loss":
        axes.set_yscale("symlog", linthresh=1, subs=[3])
        places = SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 3))
        axes.yaxis.set_major_locator(places)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)


def smoothed(curves: np.ndarray) -> np.ndarray:
    """Return running means over a twentieth of the steps, `(..., steps)`."""
    span = max(1, curves.shape[-1] // 20)
    sums = np.cumsum(curves, axis=-1, dtype=float)
    means = sums.copy()
    means[..., span:] = sums[..., span:] - sums[..., :-span]
    return means / np.minimum(np.arange(1, curves.shape[-1] + 1), span)


def trainings(curves: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
    """Return a curve of several trainings, `(trainings, sizes, steps)`.

    Trainings that ended early cut the others: all have the steps of the shortest.

    Args:
        curves: by name `(sizes, steps)`, of every training.
        name: of the curve.
    """
    steps = min(each[name].shape[-1] for each in curves)
    return np.stack([each[name][:, :steps] for each in curves])
