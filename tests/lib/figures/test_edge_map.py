"""Adjacency maps: every cell against the score that it shows."""

import numpy as np
import pytest
from drawn import cut_off

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.figures import edge_map
from circuit_transfer.models.edges import KV, KV_HEAD, edge_graph


def random_scores(graph, seed=0):
    flat = np.random.default_rng(seed).normal(size=graph.n_edges)
    matrix = graph.matrix(np.float32(flat))
    return EdgeScores(matrix, graph.legal, graph.writers, graph.readers, {})


def images(figure):
    return [each for panel in figure.axes for each in panel.images]


@pytest.mark.parametrize("kv", KV)
def test_a_map_shows_every_score_of_a_small_model(kv):
    graph = edge_graph(3, 4, 2, kv=kv)
    found = [random_scores(graph, seed) for seed in (0, 1)]
    no_pair = EdgeScores(
        np.full_like(found[0].scores, np.nan),
        graph.legal,
        graph.writers,
        graph.readers,
        {},
    )
    scores = {"ioi": found[0], "a-task-with-a-long-name": found[1]}
    scores |= {"no pair": no_pair, "missing": None}
    figure = edge_map.edge_maps(scores, title="a model, a method")
    assert cut_off(figure) == []
    titles = [panel.get_title() for panel in figure.axes[:4]]
    assert titles == [*scores]
    shown = images(figure)
    assert len(shown) == 2
    for image, each in zip(shown, found, strict=True):
        drawn = image.get_array()
        assert (drawn.mask == ~graph.legal).all()
        # A quarter of a score has half the colour, and its sign.
        signed = np.sign(drawn.data) * drawn.data**2
        assert signed[graph.legal] == pytest.approx(each.scores[graph.legal], rel=1e-5)
        limit = np.sqrt(np.nanmax(np.abs(each.scores)))
        assert image.get_clim() == (pytest.approx(-limit), pytest.approx(limit))
    # The first layer is at the bottom and on the left.
    assert shown[0].origin == "lower"
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == ["0", "1", "2"]
        assert (np.diff(axis.get_ticklocs()) > 0).all()


@pytest.mark.parametrize("kv", KV)
def test_a_map_of_a_large_model_shows_the_strongest_edge_of_every_block(kv):
    graph = edge_graph(20, 8, 2, kv=kv)
    found = random_scores(graph)
    figure = edge_map.edge_maps({"ioi": found}, title="a model")
    assert cut_off(figure) == []
    (image,) = images(figure)
    writers = [each.split(".")[0] for each in graph.writers]
    readers = [each.split(".")[0] + each[-3:] * ("<" in each) for each in graph.readers]
    blocks = list(dict.fromkeys(writers)), list(dict.fromkeys(readers))
    assert image.get_array().shape == (41, 81) == tuple(map(len, blocks))
    drawn = image.get_array()
    for row, writer in enumerate(blocks[0]):
        rows = [each == writer for each in writers]
        for column, reader in enumerate(blocks[1]):
            own = found.scores[rows][:, [each == reader for each in readers]]
            own = own[np.isfinite(own)]
            assert drawn.mask[row, column] == (not len(own))
            if len(own):
                strongest = own[np.argmax(np.abs(own))]
                root = np.sign(strongest) * np.sqrt(abs(strongest))
                assert drawn[row, column] == pytest.approx(root)


def test_maps_of_nothing():
    figure = edge_map.edge_maps({}, title="a model")
    assert "nothing to draw" in figure.texts[0].get_text()
    figure = edge_map.edge_maps({"ioi": None}, title="a model")
    assert not images(figure) and cut_off(figure) == []


def test_scores_of_zero_are_drawn():
    graph = edge_graph(1, 2, 1, kv=KV_HEAD)
    matrix = graph.matrix(np.zeros(graph.n_edges, np.float32))
    found = EdgeScores(matrix, graph.legal, graph.writers, graph.readers, {})
    (image,) = images(edge_map.edge_maps({"ioi": found}, title="a model"))
    assert image.get_clim() == (-1, 1)
