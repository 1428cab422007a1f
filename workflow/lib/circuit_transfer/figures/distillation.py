"""How students learn: accuracy and CKA over the steps of every variant."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from circuit_transfer.figures.style import (
    COLOURS,
    label_outermost,
    message,
    panels,
    show_text,
)
from circuit_transfer.tables.distillation import DistillationLevels
from circuit_transfer.tables.distillation_statistics import TEACHER

NO_TRAINING = "No student was trained: there is no curve to draw."
# What is measured during a training; and the two that are drawn, beside each other.
CURVES = {"step": pl.Int64, "accuracy": pl.Float64, "cka": pl.Float64}
MEASURED = {"accuracy": "accuracy", "cka": "CKA of matched heads"}
# By variant its colour, line and marker: no two are equal in any two of them.
LOOKS = {
    "ce-heads": (COLOURS["gold"], "-", "s"),
    "matched-cka": (COLOURS["zero-shot"], "-", "o"),
    "random-cka": (COLOURS["in-distribution"], "--", "^"),
    "shuffled-cka": (COLOURS["zero-shot-family"], "-.", "v"),
    "cka-only": (COLOURS["near-distribution"], ":", "D"),
    "fine-tune": (COLOURS["all"], "-", "P"),
    "logits": (COLOURS["best"], "--", "X"),
    "random-heads": (COLOURS["random"], "-.", "*"),
}
REFERENCE = {"color": "#555555", "linewidth": 0.8, "zorder": 0}


def distillation_figure(
    statistics: pl.DataFrame,
    curves: pl.DataFrame,
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    variants: Sequence[str],
    accuracy: float,
) -> Figure:
    """Draw accuracy and CKA over the steps, a row for each task.

    Lines are means over seeds, bands go from the lowest to the highest seed. Dashed is
    the accuracy of the teacher, dotted that until which steps are counted.

    Args:
        statistics: see `distillation_statistics`.
        curves: `CURVES` of all trainings, by `task`, `variant` and `seed`.
        teacher: the model whose circuit is distilled.
        student: the model that is trained.
        tasks: in the order of the rows.
        variants: in order.
        accuracy: until which steps are counted.
    """
    if curves.is_empty():
        return message(NO_TRAINING)
    levels = DistillationLevels(statistics)
    shape = {"columns": len(MEASURED), "width": 3.5, "height": 2.3, "sharex": "col"}
    figure, axes = panels(len(tasks) * len(MEASURED), **shape)
    cells = [(task, measure) for task in tasks for measure in MEASURED]
    lowest = [task for task in tasks if task in curves["task"]][-1]
    for panel, (task, measure) in zip(axes, cells, strict=True):
        found = curves.filter(task=task)
        panel.set_title(task)
        panel.set_ylabel(MEASURED[measure])
        if found.is_empty():
            show_text(panel, "not trained")
            continue
        _draw(panel, found, variants, measure)
        if measure == "accuracy":
            _draw_references(panel, levels, task, accuracy)
        if task == lowest:
            panel.set_xlabel("step")
    label_outermost(axes)
    figure.legend(handles=_handles(variants), loc="outside lower center", ncols=4)
    seeds = curves["seed"].n_unique()
    over = f", mean over {seeds} seeds" if seeds > 1 else ""
    figure.suptitle(f"{teacher} → {student}{over}", fontsize=9)
    return figure


def _draw(
    axes: Axes, found: pl.DataFrame, variants: Sequence[str], measure: str
) -> None:
    for variant in variants:
        _draw_variant(axes, found.filter(variant=variant), variant, measure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_variant(axes: Axes, found: pl.DataFrame, variant: str, measure: str) -> None:
    by_step = found.group_by("step").agg(
        mean=pl.mean(measure), low=pl.min(measure), high=pl.max(measure)
    )
    known = by_step.drop_nulls().sort("step")
    look = _look(variant)
    colour = look["color"]
    axes.fill_between(
        known["step"], known["low"], known["high"], color=colour, alpha=0.1, linewidth=0
    )
    # At other steps than those of other variants: equal curves hide each other.
    first = [*LOOKS].index(variant) % max(len(known), 1)
    axes.plot(known["step"], known["mean"], markevery=(first, len(LOOKS)), **look)


def _draw_references(
    axes: Axes, levels: DistillationLevels, task: str, accuracy: float
) -> None:
    axes.axhline(accuracy, linestyle=":", **REFERENCE)
    if level := levels.level(TEACHER, "accuracy", task):
        axes.axhline(level["value"], linestyle=(0, (6, 3)), **REFERENCE)
    axes.set_ylim(min(0, axes.dataLim.y0), 1.03)


def _look(variant: str) -> dict[str, object]:
    colour, line, marker = LOOKS[variant]
    look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4}
    return look | {"linewidth": 1.2, "markeredgewidth": 0}


def _handles(variants: Sequence[str]) -> list[Line2D]:
    own = [Line2D([], [], label=variant, **_look(variant)) for variant in variants]
    dashed = Line2D([], [], linestyle=(0, (6, 3)), label="teacher", **REFERENCE)
    dotted = Line2D([], [], linestyle=":", label="accuracy to reach", **REFERENCE)
    return [*own, dashed, dotted]
