"""Figures of all methods: what is drawn where, and that nothing is cut off."""

import numpy as np
import pytest
import synthetic_methods as study
from drawn import cut_off

from circuit_transfer.artifacts.edge_masks import EdgeMasks
from circuit_transfer.figures import learning_curves as figures
from circuit_transfer.figures.head_survival import head_survival
from circuit_transfer.figures.learning_curves import learning_curves
from circuit_transfer.figures.methods import frontier, methods_figure
from circuit_transfer.figures.style import panels, plain_log_ticks
from circuit_transfer.tables.head_survival import survival_frame


def lines(panel):
    """Whiskers and marks of a panel, in pairs, then its frontier."""
    return [each for each in panel.lines if each.get_color() != "#cccccc"]


def drawn(statistics=None):
    frame = study.statistics() if statistics is None else statistics
    return methods_figure(frame, target=study.TARGET, **study.NAMES)


def test_seconds_stand_against_kl_and_faithfulness_at_every_size():
    figure = drawn()
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[:2] == ["10 % of the edges", "5 % of the edges"]
    kl, _, faithfulness, _ = figure.axes
    whisker, mark, *_, best = lines(faithfulness)
    assert mark.get_xydata().tolist() == [[10, pytest.approx(0.85)]]
    # From the lowest to the highest seed, each a mean over tasks.
    assert whisker.get_ydata().tolist() == pytest.approx([0.84, 0.86])
    # Every method is better than all that are faster.
    assert best.get_xdata().tolist() == [0.4, 0.5, 1, 5, 10]
    assert kl.get_yscale() == kl.get_xscale() == "log"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "edge-pruning (learned)",
        "hap (learned)",
        "eap (edges)",
        "eap-ig-inputs (edges)",
        "nap (nodes)",
    ]
    assert not cut_off(figure)


def test_methods_differ_by_more_than_colour():
    marks = [each for each in drawn().axes[0].lines if each.get_marker() != "None"]
    looks = [
        (each.get_marker(), each.get_markerfacecolor() == "white") for each in marks
    ]
    assert len(looks) == len(set(looks)) == 5


def test_the_frontier_is_of_what_nothing_beats_in_both():
    points = [(1, 5), (2, 5), (2, 3), (3, 4), (4, 1)]
    assert frontier(points) == [0, 2, 4]
    assert frontier([]) == []


def test_without_numbers_there_is_a_message():
    assert not drawn(study.statistics().clear()).axes


SIZES = (0.1, 0.05)


def masks(method, seed, **curves):
    nothing = np.zeros((1, 1), np.float32)
    return EdgeMasks(
        nothing,
        nothing > 0,
        ("input",),
        ("logits",),
        {"method": method, "seed": seed, "task": "ioi"},
        sizes=SIZES,
        all_scores=nothing[None],
        all_kept=nothing[None],
        open_share=np.array([0.1]),
        curves={name: np.float32(values) for name, values in curves.items()},
        extras={},
    )


def test_curves_of_training_have_a_mean_a_band_and_their_target():
    first = {"kl": [[4, 2, 1], [8, 4, 2]], "open_share": [[1, 0.5, 0.2], [1, 0.4, 0.1]]}
    second = {
        "kl": [[2, 2, 1, 0], [8, 4, 2, 0]],
        "open_share": [[1, 0.3, 0.2, 0], [1, 0.2, 0.1, 0]],
    }
    target = {"target": [[1, 0.4, 0.1, 0.1]] * 2}
    found = [
        masks(
            "hap", 0, **first, target=[each[0][:3] for each in [target["target"]] * 2]
        ),
        masks("hap", 1, **second, **target),
        masks("soft-top-k", 0, kl=[[3.0, 2]] * 2),
    ]
    figure = learning_curves(found, model="m")
    assert [panel.get_title() for panel in figure.axes[:2]] == ["hap", "soft-top-k"]
    kl, _, share, empty = figure.axes
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["10 % of the edges", "5 % of the edges", figures.ONE_TRAINING[0]]
    # The shorter training cuts the longer one.
    assert kl.lines[0].get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
    band = kl.collections[0].get_paths()[0].vertices
    assert {(1.0, 2.0), (1.0, 4.0)} <= {tuple(each) for each in band}
    assert len(kl.lines) == 2 and len(share.lines) == 4
    dotted = share.lines[1]
    assert dotted.get_linestyle() == ":"
    assert dotted.get_ydata().tolist() == pytest.approx([1, 0.4, 0.1])
    # It has no share of open edges.
    assert [text.get_text() for text in empty.texts] == ["-"]
    assert not cut_off(figure)
    assert not learning_curves([masks("hap", 0)], model="m").axes


def test_noise_is_smoothed_over_a_twentieth_of_the_steps():
    curve = np.arange(40.0)
    assert figures.smoothed(curve)[:3].tolist() == [0, 0.5, 1.5]
    assert figures.smoothed(curve)[-1] == 38.5
    # Of fewer steps nothing is smoothed.
    assert figures.smoothed(curve[:30]).tolist() == curve[:30].tolist()


def row(head, method, kept, role="strongest", task="ioi", size=0.1):
    labels = {"task": task, "head": head, "method": method, "kept": kept}
    return labels | {"role": role, "size": size, "effect": 1.0, "n_seeds": 1}


def test_heads_by_methods_are_a_grid_for_every_task_and_size():
    rows = [row("a0.h0", "hap", 1.0), row("a0.h0", "eap", 0.0)]
    rows += [
        row("a0.h1", "hap", 0.5, role="backup"),
        row("a0.h1", "eap", 0.0, "backup"),
    ]
    names = {"tasks": ["ioi", "none"], "edge_methods": ["eap"]}
    names |= {"learned_methods": ["hap"], "sizes": [0.1], "model": "m"}
    figure = head_survival(survival_frame(rows), **names)
    (panel,) = figure.axes
    heads = [text.get_text() for text in panel.get_yticklabels()]
    assert heads == ["+ a0.h0", "b a0.h1"]
    methods = [text.get_text() for text in panel.get_xticklabels()]
    assert methods == ["hap", "eap"]
    (grid,) = panel.collections
    assert grid.get_array().tolist() == [[1, 0], [0.5, 0]]
    assert not cut_off(figure)
    assert not head_survival(survival_frame([]), **names).axes


def test_the_names_of_tasks_beside_their_rows_do_not_overlap():
    tasks = ["arithmetic-addition", "arithmetic-subtraction", "ioi"]
    rows = [row("a0.h0", "hap", 1.0, task=task) for task in tasks]
    names = {"tasks": tasks, "edge_methods": [], "learned_methods": ["hap"]}
    figure = head_survival(survival_frame(rows), **names, sizes=[0.1], model="m")
    figure.canvas.draw()
    boxes = [panel.yaxis.label.get_window_extent() for panel in figure.axes]
    for upper, lower in zip(boxes, boxes[1:], strict=False):
        assert upper.y0 > lower.y1
    assert not cut_off(figure)


def test_every_size_has_a_line_of_its_own():
    looks = [look for _, look in figures._styled([0.1 * place for place in range(9)])]
    assert len({*looks}) == 9 and looks[3][0] == looks[0][0]


@pytest.mark.parametrize(
    ("lowest", "highest", "labels"),
    [
        (0.03, 0.2, ["0.05", "0.1", "0.2"]),
        (0.02, 1, ["0.03", "0.1", "0.3", "1"]),
        (0.001, 10, ["0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(lowest, highest, labels):
    figure, (panel,) = panels(1, columns=1, width=2.6, height=2.3)
    panel.plot([lowest, highest], [0, 1])
    panel.set_xscale("log")
    panel.set_xlim(lowest, highest)
    plain_log_ticks(panel.xaxis)
    figure.canvas.draw()
    low, high = panel.get_xlim()
    shown = [
        text.get_text()
        for text in panel.get_xticklabels()
        if low * 0.999 <= text.get_position()[0] <= high * 1.001
    ]
    assert shown == labels
    assert not any(each.label1.get_text() for each in panel.xaxis.get_minor_ticks())
