import numpy as np
import pytest

from circuit_transfer.artifacts.edge_masks import read_edge_masks, write_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.tensors import read_tensors, write_tensors
from circuit_transfer.models.edges import edge_graph

GRAPH = edge_graph(2, 2, 1)
NAMES = {"writers": GRAPH.writers, "readers": GRAPH.readers, "legal": GRAPH.legal}
LABELS = {"kv": GRAPH.kv, "method": "hap", "model": "m", "task": "t", "seed": 3}


@pytest.fixture
def written(tmp_path):
    """Circuits of two sizes, in a file; and what was written."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(2, GRAPH.n_edges)).astype(np.float32)
    kept = random.random((2, GRAPH.n_edges)) < 0.3
    how = {"sizes": [0.3, 0.1], "open_share": np.array([0.35, 0.1])}
    how |= {"curves": {"loss": np.arange(6.0).reshape(2, 3)}}
    how |= {"extras": {"nodes": np.ones((2, 7), np.float32)}}
    file = tmp_path / "masks.safetensors"
    write_edge_masks(file, scores, kept, **how, **NAMES, **LABELS, steps=3)
    return file, scores, kept


def test_circuits_come_back_as_they_were(written):
    file, scores, kept = written
    found = read_edge_masks(file)
    assert (found.all_flat == scores).all() and (found.flat == scores[0]).all()
    assert (found.kept_flat == kept).all() and found.kept_flat.dtype == bool
    assert (np.isnan(found.all_scores) == ~GRAPH.legal).all()
    assert (GRAPH.flat(found.kept) == kept[0]).all() and not found.kept[
        ~GRAPH.legal
    ].any()
    assert found.sizes == (0.3, 0.1) and found.open_share.tolist() == [
        np.float32(0.35),
        np.float32(0.1),
    ]
    assert found.curves["loss"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert set(found.curves) == {"loss"} and set(found.extras) == {"nodes"}
    assert found.metadata == LABELS | {"n_edges": GRAPH.n_edges, "steps": 3}


def test_a_file_of_circuits_is_one_of_scores_too(written):
    file, scores, _ = written
    found = read_edge_scores(file)
    assert (found.flat == scores[0]).all() and found.by_example is None
    assert found.metadata["method"] == "hap"


def test_unknown_scores_and_empty_circuits_can_be_written(tmp_path):
    unknown = np.full((1, GRAPH.n_edges), np.nan, np.float32)
    how = {"sizes": [0.1], "open_share": np.full(1, np.nan)}
    empty = np.zeros(unknown.shape, bool)
    file = tmp_path / "masks"
    write_edge_masks(
        file, unknown, empty, **how, curves={}, extras={}, **NAMES, **LABELS
    )
    found = read_edge_masks(file)
    assert np.isnan(found.flat).all() and not found.kept_flat.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kept": np.zeros((2, 3), np.uint8)}, r"shapes .*expected"),
        ({"all_scores": np.zeros((3, 7, 15), np.float32)}, r"shapes .*expected"),
        ({"open_share": np.zeros(5, np.float32)}, r"shapes .*expected"),
        ({"all_kept": np.ones((2, 7, 15), np.uint8)}, "edges that the model does not"),
        ({"curve/loss": None, "kept": None}, r"no tensor \['kept'\]"),
    ],
)
def test_a_damaged_file_is_refused(changes, message, written):
    file, *_ = written
    tensors, metadata = read_tensors(file)
    changed = {k: v for k, v in (tensors | changes).items() if v is not None}
    write_tensors(file, changed, **metadata)
    with pytest.raises(ValueError, match=f"{file.name}: .*{message}.*run"):
        read_edge_masks(file)


@pytest.mark.parametrize("key", ["sizes", "seed", "writers", "kv"])
def test_a_file_without_what_it_needs_is_refused(key, written):
    file, *_ = written
    tensors, metadata = read_tensors(file)
    del metadata[key]
    write_tensors(file, tensors, **metadata)
    with pytest.raises(ValueError, match=f"no metadata \\['{key}'\\]"):
        read_edge_masks(file)


def test_scores_alone_are_no_circuits(tmp_path):
    file = tmp_path / "scores"
    write_tensors(file, {"scores": np.zeros((7, 15))}, kv=GRAPH.kv)
    with pytest.raises(ValueError, match="no tensor .*all_kept"):
        read_edge_masks(file)


def test_circuits_of_another_graph_are_not_written(tmp_path):
    wrong = np.zeros((1, 3), np.float32)
    how = {"sizes": [0.1], "open_share": np.zeros(1), "curves": {}, "extras": {}}
    with pytest.raises(ValueError, match="shapes .*expected"):
        write_edge_masks(tmp_path / "x", wrong, wrong, **how, **NAMES, **LABELS)
    right = np.zeros((1, GRAPH.n_edges), np.float32)
    how["extras"] = {"kept": right}
    with pytest.raises(ValueError, match="called 'kept'"):
        write_edge_masks(tmp_path / "x", right, right, **how, **NAMES, **LABELS)
