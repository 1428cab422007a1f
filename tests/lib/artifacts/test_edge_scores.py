import numpy as np
import pytest

from circuit_transfer.artifacts.edge_scores import read_edge_scores, write_edge_scores
from circuit_transfer.models.edges import edge_graph

GRAPH = edge_graph(2, 2, 1)
NAMES = {"writers": GRAPH.writers, "readers": GRAPH.readers, "legal": GRAPH.legal}


def test_scores_come_back_without_an_edge_where_there_is_none(tmp_path):
    flat = np.linspace(-1, 1, GRAPH.n_edges, dtype=np.float32)
    by_example = np.stack([flat, 2 * flat])
    file = tmp_path / "scores.safetensors"
    matrix = GRAPH.matrix(flat, outside=0.0)
    labels = {"kv": GRAPH.kv, "method": "eap"}
    write_edge_scores(file, matrix, **NAMES, by_example=by_example, **labels)
    found = read_edge_scores(file)
    assert (np.isnan(found.scores) == ~GRAPH.legal).all()
    assert (found.flat == flat).all()
    assert found.by_example.dtype == np.float16
    assert np.allclose(found.by_example, by_example, atol=1e-3)
    assert (found.writers, found.readers) == (GRAPH.writers, GRAPH.readers)
    assert found.metadata == labels | {"n_edges": GRAPH.n_edges}


def test_scores_of_another_graph_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected \(7, 15\)"):
        write_edge_scores(tmp_path / "x", np.zeros((3, 3)), **NAMES, kv=GRAPH.kv)
