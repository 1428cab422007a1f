"""The loss over the steps of training."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.figures.style import COLOURS, message, panels

TRAINING_NAMES = {
    "all": "all tasks",
    "only": "one task",
    "without": "all tasks but one",
    "without-family": "all but a family",
}
TRAINING_COLOURS = {
    "all": COLOURS["all"],
    "only": COLOURS["in-distribution"],
    "without": COLOURS["zero-shot"],
    "without-family": COLOURS["zero-shot-family"],
}


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
    names = {"kl": "KL (clean || circuit)", "loss": "total loss"}
    for panel, (tensor, name) in zip(axes, names.items(), strict=True):
        for training_set, seeds in sorted(fits.items()):
            loss = [fit.tensors[tensor] for fit in seeds]
            _draw_loss(panel, loss, _kind(training_set))
        panel.set(title=name, xlabel="optimiser step", ylabel="nats", ylim=(0, None))
    counts = {kind: 0 for kind in TRAINING_COLOURS}
    for training_set in fits:
        counts[_kind(training_set)] += 1
    _legend_of_losses(figure, counts)
    return figure


def _kind(training_set: str) -> str:
    kinds = sorted(TRAINING_COLOURS, key=len, reverse=True)
    return next(kind for kind in kinds if training_set.startswith(kind))


def _draw_loss(axes: Axes, seeds: Sequence[np.ndarray], kind: str) -> None:
    # Seeds of one training set take equally many steps, unless a fit was cut short.
    steps = min(len(seed) for seed in seeds)
    mean = np.mean([seed[:steps] for seed in seeds], axis=0)
    colour = TRAINING_COLOURS[kind]
    axes.plot(np.arange(1, steps + 1), mean, color=colour, linewidth=0.8, alpha=0.8)


def _legend_of_losses(figure: Figure, counts: Mapping[str, int]) -> None:
    handles = [
        Line2D([], [], color=TRAINING_COLOURS[kind], label=_counted(kind, count))
        for kind, count in counts.items()
        if count
    ]
    # Below the panels: in them it would hide the lines.
    figure.legend(
        handles=handles,
        title="trained on",
        title_fontsize=7,
        loc="outside lower center",
        ncols=2,
    )


def _counted(kind: str, count: int) -> str:
    lines = f" ({count} lines)" if count > 1 else ""
    return TRAINING_NAMES[kind] + lines
