"""Circuits of edges in the figures of transfers, beside those of nodes."""

import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes
from drawn import cut_off

from circuit_transfer.figures import comparisons, curves, matrices, recovery

PAIR = {"source": nodes.SOURCE, "target": nodes.TARGET}
MAPS = {"nap": nodes.MAPS, "eap": study.MAPS}
CONTROLS = {"nap": nodes.CONTROLS, "eap": study.CONTROLS}


@pytest.fixture(scope="module")
def measured():
    statistics, intervals = study.statistics()
    return intervals, statistics


def points(axes, colour):
    """The x of the markers of one colour."""
    lines = (line for line in axes.lines if line.get_color() == colour)
    return [line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 1]


def test_every_pair_has_curves_of_edges_over_edges(measured):
    figure = curves.curves_by_pair(*measured, transfers=[PAIR], maps=MAPS)
    of_nodes, of_edges = figure.axes
    # The curve of the random rankings is the one of edges, and the gold one likewise.
    heights = {0.1 + 0.01, 0.9 + 0.01}
    found = {round(line.get_ydata()[0], 3) for line in of_edges.lines}
    assert heights <= found and 0.31 not in found
    assert {0.31, 0.81} <= {round(line.get_ydata()[0], 3) for line in of_nodes.lines}
    assert "share of nodes or edges" in of_edges.get_xlabel()
    assert cut_off(figure) == []


def test_curves_by_task_are_over_the_share_of_edges(measured):
    names = {"method": "eap", "map_name": "prior-residual", "tasks": nodes.TASKS}
    figure = curves.curves_by_task(*measured, **PAIR, **names)
    assert figure.axes[0].get_xlabel() == "circuit size (share of edges)"
    gold = next(line for line in figure.axes[0].lines if line.get_color() == "#000000")
    assert gold.get_ydata() == pytest.approx([study.level("gold", "ioi")] * 4)
    # As many edges as nodes are not on it: every size is a circuit of its own.
    assert gold.get_markevery() == [0, 1, 2, 3]


def test_every_method_lists_its_own_controls(measured):
    how = {"maps": MAPS, "controls": CONTROLS | {"nap": nodes.CONTROLS[:2]}}
    figure = comparisons.controls_figure(measured[1], **PAIR, **how)
    first = ["gold", "in-distribution", "zero-shot"]
    listed = {
        method: [*first, *names, "random-rankings"]
        for method, names in how["controls"].items()
    }
    check_lines(figure, listed.values())
    # Every line of every panel has a mark.
    for axes in figure.axes:
        places = {round(line.get_ydata()[0]) for line in axes.lines}
        low, high = axes.get_ylim()
        assert {*range(round(low + 0.4))} <= places and high < 0


def test_every_method_lists_its_own_maps(measured):
    maps = MAPS | {"nap": nodes.MAPS[:1]}
    figure = comparisons.maps_figure(measured[1], **PAIR, maps=maps)
    check_lines(figure, maps.values())


def check_lines(figure, listed):
    """The names beside the panels of every method, at lines of one height."""
    assert cut_off(figure) == []
    heights = []
    for axes, names in zip(figure.axes[::3], listed, strict=True):
        assert [each.get_text() for each in axes.get_yticklabels()] == names
        low, high = axes.get_ylim()
        heights.append(axes.get_position().height / abs(low - high))
    assert heights == pytest.approx([heights[0]] * len(heights), rel=0.01)


def test_maps_of_edges_are_drawn_with_what_they_are_given(measured):
    figure = comparisons.maps_figure(measured[1], **PAIR, maps=MAPS)
    _, colour, _ = comparisons.GIVEN["degree-source"]
    *_, edges, _, _ = figure.axes
    assert points(edges, colour) == pytest.approx(
        [study.mean("degree-source", "family")]
    )
    assert points(figure.axes[0], colour) == []
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "scores by the sums of nodes" in texts and "edge-changes" in texts


def test_recovery_and_transfer_matrices_have_edges(measured):
    figure = recovery.recovery_bars(measured[1], transfers=[PAIR], maps=MAPS)
    labels = [each.get_text() for each in figure.axes[0].get_xticklabels()]
    assert labels == ["nap", "eap"]
    matrix = matrices.transfer_matrices(
        study.summary()[1],
        **PAIR,
        maps=MAPS,
        tasks=nodes.TASKS,
        families=nodes.FAMILIES,
    )
    titles = [axes.get_title() for axes in matrix.axes]
    assert "eap\nCPR" in titles


def test_completeness_averages_circuits_of_edges_by_their_size():
    frame, _ = study.summary()
    figure = curves.completeness(frame, **PAIR, maps=MAPS, families=nodes.FAMILIES)
    gold = figure.axes[1].lines[2]
    assert gold.get_ydata() == pytest.approx([0.91] * 4)
