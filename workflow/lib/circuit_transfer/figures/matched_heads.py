"""Which heads of a teacher the heads of a student are matched to, as lines."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import COLOURS, message, panels, show_text
from circuit_transfer.models.nodes import head_place

NO_HEADS = "No head of the student is matched: there is nothing to draw."
# Lines to the head that the first method chooses too, and to another one.
SAME = {"color": COLOURS["zero-shot"], "linestyle": "-", "linewidth": 1.1}
OTHER = {"color": COLOURS["in-distribution"], "linestyle": "--", "linewidth": 0.9}
HEADS = {"color": "#bbbbbb", "s": 3, "linewidths": 0, "zorder": 1}
# Of more layers, some are labelled.
MOST_LABELS = 12
COLUMN, LETTER = 1.9, 0.09  # inches, of a panel, and of a letter of the title
# Numbers of layers and of heads in a layer.
Shape = tuple[int, int]


def matched_heads_figure(
    matched: pl.DataFrame,
    shapes: Mapping[str, Shape],
    *,
    teacher: str,
    student: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Figure:
    """Draw a line for every matched head, a row for each task, a column for a method.

    On the left are the heads of the student, on the right those of the teacher, the
    first layer below; both models have the same height.

    Args:
        matched: see `distillation.frames.MATCHED_COLUMNS`.
        shapes: of both models, by name.
        teacher: the model on the right.
        student: the model on the left.
        tasks: in the order of the rows.
        methods: the one that students are trained by, then the others.
    """
    if matched.is_empty():
        return message(NO_HEADS)
    count = len(tasks) * len(methods)
    title = f"{student} (left)\nmatched to {teacher} (right)"
    # Of few columns, the title is wider.
    width = max(COLUMN, LETTER * max(map(len, title.split("\n"))) / len(methods))
    figure, axes = panels(count, columns=len(methods), width=width, height=2.6)
    cells = [(task, method) for task in tasks for method in methods]
    sides = shapes[student], shapes[teacher]
    for panel, (task, method) in zip(axes, cells, strict=True):
        of_task = matched.filter(task=task)
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(f"{method} (used)" if method == methods[0] else method)
        if place.is_first_col():
            panel.set_ylabel(f"{task}\nlayer")
        used = _pairs(of_task.filter(method=methods[0]))
        _draw(panel, _pairs(of_task.filter(method=method)), used, sides)
    texts = f"as by {methods[0]}", "another head of the teacher"
    handles = [
        Line2D([], [], label=text, **look)
        for text, look in zip(texts, (SAME, OTHER), strict=True)
    ]
    if len(methods) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize=9)
    return figure


def _pairs(found: pl.DataFrame) -> dict[str, str]:
    return dict(found.select("student_head", "teacher_head").iter_rows())


def _draw(
    axes: Axes,
    pairs: Mapping[str, str],
    used: Mapping[str, str],
    sides: tuple[Shape, Shape],
) -> None:
    if not pairs:
        show_text(axes, "-")
        return
    for x, shape in enumerate(sides):
        heads = _heights(shape)
        axes.scatter(np.full(len(heads), x), heads, **HEADS)
    for student, teacher in pairs.items():
        heights = [
            height(head, shape)
            for head, shape in zip((student, teacher), sides, strict=True)
        ]
        look = SAME if used.get(student) == teacher else OTHER
        axes.plot([0, 1], heights, marker="o", markersize=2.5, **look)
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.set_yticks(*_labels(sides[0]))
    right = axes.secondary_yaxis("right")
    right.set_yticks(*_labels(sides[1]))
    for axis in (axes, right):
        axis.tick_params(length=0)
    right.spines[:].set_visible(False)


def height(head: str, shape: Shape) -> float:
    """Return where a head stands, from 0 to 1: its layer, and its place within it.

    Args:
        head: its name.
        shape: of its model.
    """
    layers, heads = shape
    layer, number = head_place(head)
    return (layer + (number + 1) / (heads + 1)) / layers


def _heights(shape: Shape) -> list[float]:
    layers, heads = shape
    names = (
        f"a{layer}.h{number}" for layer in range(layers) for number in range(heads)
    )
    return [height(name, shape) for name in names]


def _labels(shape: Shape) -> tuple[list[float], list[str]]:
    """Return the middles of labelled layers, and their numbers."""
    layers, _ = shape
    shown = range(0, layers, -(-layers // MOST_LABELS))
    return [(layer + 0.5) / layers for layer in shown], [str(each) for each in shown]
