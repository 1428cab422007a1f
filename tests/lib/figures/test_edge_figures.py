"""The curves of circuits of edges: what is drawn, and that nothing is cut off."""

import polars as pl
import pytest
import synthetic_edges as study
from drawn import cut_off
from matplotlib.colors import same_color

from circuit_transfer.figures.edges import edge_curves_by_task
from circuit_transfer.figures.style import COLOURS

NAMES = {"target": study.TARGET, "edge_method": "eap", "methods": ["nap"]}
FOUND = ["edges, signed", "edges, absolute"]
CONTROLS = ["random edges", "random edges of equal effective size"]
OF_NODES = ["nodes, nap", "nodes as edges, nap"]


@pytest.fixture(scope="module")
def bands():
    return study.statistics()[1]


def lines(panel):
    return {
        each.get_label(): each for each in panel.lines if each.get_label()[0] != "_"
    }


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_circuit_has_a_curve_on_every_task(bands):
    figure = edge_curves_by_task(bands, tasks=study.TASKS, **NAMES)
    assert [panel.get_title() for panel in figure.axes] == study.TASKS
    assert legend(figure) == FOUND + CONTROLS + OF_NODES
    for panel in figure.axes:
        assert panel.get_xscale() == "log" and list(lines(panel)) == legend(figure)
    signed = lines(figure.axes[0])["edges, signed"]
    assert signed.get_xdata().tolist() == study.PROPORTIONS
    assert signed.get_ydata().tolist() == pytest.approx([0.2, 0.9, 0.96, 1])
    nodes = lines(figure.axes[0])["nodes, nap"]
    assert nodes.get_ydata().tolist() == pytest.approx(study.NODES)
    # The mean of random rankings.
    random = lines(figure.axes[0])["random edges"].get_ydata()
    assert random.tolist() == pytest.approx([0, 0.1, 0.3, 1])
    assert not cut_off(figure)


def test_curves_differ_by_more_than_colour(bands):
    figure = edge_curves_by_task(bands, tasks=["ioi"], **NAMES)
    looks = lines(figure.axes[0]).values()
    drawn = {
        (each.get_linestyle(), each.get_marker(), each.get_color()) for each in looks
    }
    assert len(drawn) == len({look[1] for look in drawn}) == 6
    palette = COLOURS.values()
    assert all(any(same_color(look[2], each) for each in palette) for look in drawn)
    assert not cut_off(figure)


def test_a_task_without_faithfulness_is_a_dash(bands):
    figure = edge_curves_by_task(
        bands.filter(task="ioi"), tasks=["addition", "ioi", "other", "more"], **NAMES
    )
    texts = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert texts == [["-"], [], ["-"], ["-"]]
    assert not cut_off(figure)


def test_without_methods_of_nodes_there_are_edges_alone(bands):
    edges = bands.filter(~pl.col("control").is_in(["nodes", "lifted"]))
    names = NAMES | {"methods": []}
    figure = edge_curves_by_task(edges, tasks=study.TASKS, **names)
    assert legend(figure) == FOUND + CONTROLS
    nothing = edge_curves_by_task(edges.clear(), tasks=study.TASKS, **names)
    assert not nothing.axes and "no curve to draw" in nothing.texts[0].get_text()
