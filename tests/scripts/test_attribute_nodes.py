import numpy as np
import pytest
from attribute_nodes import attribute_nodes

from circuit_transfer.artifacts import read_frame, read_json, read_scores
from circuit_transfer.attribution import METHODS, attribute
from circuit_transfer.batches import pair_batches
from circuit_transfer.models import load_model

SETTINGS = {"examples": 4, "ig_steps": 2, "ablation": "counterfactual"}


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_of_the_first_training_pairs(study, tmp_path, method):
    path = tmp_path / "scores.safetensors"
    model_path, pairs_path = study.model("target"), study.pairs("target", "a")
    settings = {"task": "a", "method": method, **SETTINGS}
    attribute_nodes(model_path, pairs_path, path, batch_size=3, **settings)
    found = read_scores(path)
    model = load_model(read_json(model_path)["path"])
    batches = pair_batches(read_frame(pairs_path)[:4], 3)
    expected = attribute(model, batches, method=method, ig_steps=2)
    assert np.array_equal(found.scores, expected.mean().numpy())
    assert list(found.nodes) == read_json(model_path)["nodes"]
    assert found.metadata == {"model": "target", **settings, **expected.summary()}


def test_the_file_is_the_same_again_byte_by_byte(study, tmp_path):
    paths = study.model("target"), study.pairs("target", "a")
    settings = {"task": "a", "method": "nap", "batch_size": 3, **SETTINGS}
    attribute_nodes(*paths, tmp_path / "again", **settings)
    first = study.scores("target", "a").read_bytes()
    assert (tmp_path / "again").read_bytes() == first


def test_a_task_without_usable_pairs_has_unknown_scores(study):
    found = read_scores(study.scores("target", "none"))
    assert found.scores.shape == (10,)
    assert np.isnan(found.scores).all()
    assert found.metadata["examples"] == 0


def test_a_damaged_file_of_pairs_is_named(study, tmp_path):
    (tmp_path / "pairs.parquet").write_text("nothing")
    settings = {"task": "a", "method": "nap", "batch_size": 3, **SETTINGS}
    paths = study.model("target"), tmp_path / "pairs.parquet", tmp_path / "scores"
    with pytest.raises(ValueError, match="pairs.parquet: not a readable Parquet"):
        attribute_nodes(*paths, **settings)
    assert not (tmp_path / "scores").exists()
