"""Circuits of edges side by side: which edges they share, and that all are drawn."""

from itertools import pairwise

import numpy as np
import pytest
from drawn import cut_off

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.figures.circuit_figure import circuit_figure
from circuit_transfer.figures.circuit_svg import circuit_svg
from circuit_transfer.figures.transferred_circuits import (
    LOOKS,
    NO_SCORES,
    Panel,
    transferred_circuits,
)
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.tables.transferred_edges import (
    BOTH,
    GOLD,
    SOURCE,
    TRANSFERRED,
    transferred_edges,
)

SMALL, LARGE = edge_graph(1, 2, 2), edge_graph(2, 2, 2)
CIRCUITS = (SOURCE, GOLD, TRANSFERRED)


def scores(graph, by_edge):
    """Scores of a few named edges; the others have less than any of them."""
    flat = np.float32(np.linspace(1e-3, 2e-3, graph.n_edges))
    for edge, score in by_edge.items():
        flat[graph.number(edge)] = score
    return flat


def artefact(graph, flat):
    matrix = graph.matrix(flat)
    return EdgeScores(matrix, graph.legal, graph.writers, graph.readers, {})


OF_SOURCE = {"input->m0": 2.0, "m0->logits": -3.0}
OF_GOLD = {"input->m0": -4.0, "m0->m1": 3.0, "m1->logits": 2.0}
PROJECTED = {"input->m0": 2.0, "m0->m1": -9.0, "m0->logits": 1.0, "m1->logits": 0.5}


def edges(ranking="absolute", count=3, projected=PROJECTED):
    found = scores(LARGE, projected) if projected else np.zeros(0, np.float32)
    ours = artefact(SMALL, scores(SMALL, OF_SOURCE))
    gold = artefact(LARGE, scores(LARGE, OF_GOLD))
    both = (ours, SMALL), (gold, LARGE)
    return transferred_edges(*both, found, ranking=ranking, count=count)


def listed(frame, circuit):
    return frame.filter(circuit=circuit).select("edge", "circuits").rows()


def test_edges_are_those_that_each_circuit_takes_first():
    frame = edges()
    assert frame.filter(circuit=SOURCE)["edge"].to_list()[:2] == [
        "m0->logits",
        "input->m0",
    ]
    assert listed(frame, GOLD) == [
        ("input->m0", BOTH),
        ("m0->m1", GOLD),
        ("m1->logits", BOTH),
    ]
    # A map's scores rank as they are, whatever is negative last.
    assert listed(frame, TRANSFERRED) == [
        ("input->m0", BOTH),
        ("m0->logits", TRANSFERRED),
        ("m1->logits", BOTH),
    ]


def test_signed_rankings_leave_out_what_opposes_the_answer():
    frame = edges("signed", count=2)
    assert frame.filter(circuit=GOLD)["edge"].to_list() == ["m0->m1", "m1->logits"]


@pytest.fixture(scope="module")
def drawing():
    return drawn(edges())


def drawn(frame):
    graphs = dict(zip(CIRCUITS, (SMALL, LARGE, LARGE), strict=True))
    panels = [
        Panel(
            f"circuit {each}",
            frame.filter(circuit=each),
            graph.heads // graph.kv_readers,
        )
        for each, graph in graphs.items()
    ]
    return transferred_circuits(panels, title='<a> & "b" → c')


def test_every_edge_has_the_colour_of_the_circuits_that_have_it(drawing):
    found = sorted(line.colour for line in drawing.edges)
    expected = [LOOKS[each][0]["colour"] for each in edges()["circuits"]]
    assert found == sorted(expected)
    of_transferred = LOOKS[TRANSFERRED][0]["colour"]
    assert all(each.dashed == (each.colour == of_transferred) for each in drawing.edges)
    assert len({look["colour"] for look, _ in LOOKS.values()}) == len(LOOKS)
    # The legend has a line for each of them.
    assert len(drawing.samples) == len(LOOKS)


def test_circuits_stand_side_by_side(drawing):
    titles = [each for each in drawing.texts if each.bold and "circuit " in each.text]
    starts = [*(title.x for title in titles), drawing.width]
    inputs = [box for box in drawing.boxes if box.name == "input"]
    for (left, right), box in zip(pairwise(starts), inputs, strict=True):
        assert left < box.x - box.width / 2 and box.x + box.width / 2 < right
    for line in drawing.edges:
        within = [all(a < x < b for x, _ in line.points) for a, b in pairwise(starts)]
        assert sum(within) == 1
    assert cut_off(circuit_figure(drawing)) == []
    assert "&lt;a&gt; &amp; " in circuit_svg(drawing)


def test_without_scores_a_panel_says_so():
    frame = edges(projected={})
    assert frame.filter(circuit=TRANSFERRED).is_empty()
    drawing = drawn(frame)
    assert NO_SCORES in [text.text for text in drawing.texts]
    assert drawn(frame.clear()).height > 0


def test_a_circuit_is_not_changed_by_its_copy():
    gold = artefact(LARGE, scores(LARGE, OF_GOLD))
    same = transferred_edges(
        *2 * [(gold, LARGE)], np.abs(gold.flat), ranking="absolute", count=4
    )
    assert (
        same.filter(circuit=GOLD)
        .drop("circuit")
        .equals(same.filter(circuit=TRANSFERRED).drop("circuit"))
    )
    assert set(same.filter(circuit=GOLD)["circuits"]) == {BOTH}
