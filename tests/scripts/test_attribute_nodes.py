import numpy as np
import pytest
from attribute_nodes import attribute_nodes

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.methods import (
    Nodes,
    method_of,
    method_passes,
    node_methods,
)
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches

SETTINGS = {"examples": 4, "ig_steps": 2, "ablation": "counterfactual"}


@pytest.mark.parametrize("method", node_methods())
def test_scores_are_of_the_first_training_pairs(study, tmp_path, method):
    paths = tmp_path / "scores.safetensors", tmp_path / "cost.json"
    model_path, pairs_path = study.model("target"), study.pairs("target", "a")
    settings = {"task": "a", "method": method, **SETTINGS}
    attribute_nodes(model_path, pairs_path, *paths, batch_size=3, **settings)
    found = read_scores(paths[0])
    model = load_model(read_json(model_path)["path"])
    batches = pair_batches(read_frame(pairs_path)[:4], 3)
    expected = attribute(model, batches, method=method, ig_steps=2)
    assert np.array_equal(found.scores, expected.mean().numpy())
    assert np.array_equal(found.by_example, expected.nodes.numpy())
    assert found.by_example.shape == (4, 10)
    assert np.allclose(found.by_example.mean(0), found.scores, atol=1e-7)
    assert list(found.nodes) == read_json(model_path)["nodes"]
    labels = {"model": "target", "prompt_numbers": [0, 1, 2, 3]}
    assert found.metadata == {**labels, **settings, **expected.summary()}


@pytest.mark.parametrize("method", node_methods())
def test_the_cost_is_what_was_planned(study, tmp_path, method):
    paths = study.model("target"), study.pairs("target", "a"), tmp_path / "scores"
    settings = {"task": "a", "method": method, "batch_size": 3, **SETTINGS}
    attribute_nodes(*paths, tmp_path / "cost.json", **settings)
    (row,) = read_json(tmp_path / "cost.json")
    assert row.pop("seconds") > 0
    # Four pairs of four tokens; ten nodes at four sites.
    forwards, forward_backwards = method_passes(method, Nodes(10, 4), 2)
    if method_of(method).layers < 1:
        tokens = row["tokens"] + row["backward_tokens"]
        assert 0 < tokens < 4 * 4 * (forwards + forward_backwards)
        # Half of it on average, which the plan counts as such.
        row |= {
            "tokens": 4 * 4 * forwards,
            "backward_tokens": 4 * 4 * forward_backwards,
        }
    assert row == {
        "part": method,
        "model": "target",
        "forwards": 4 * forwards,
        "forward_backwards": 4 * forward_backwards,
        "tokens": 4 * 4 * forwards,
        "backward_tokens": 4 * 4 * forward_backwards,
    }


def test_scores_are_those_of_the_ablation(study, tmp_path):
    paths = study.model("target"), study.pairs("target", "a")
    settings = {"task": "a", "method": "exact", "batch_size": 3} | SETTINGS
    scores = []
    for ablation in ABLATIONS:
        path = tmp_path / ablation
        settings["ablation"] = ablation
        attribute_nodes(*paths, path, tmp_path / "cost", **settings)
        assert read_scores(path).metadata["ablation"] == ablation
        scores.append(read_scores(path).scores)
    batches = pair_batches(read_frame(paths[1])[:4], 3)
    model = load_model(read_json(paths[0])["path"])
    expected = attribute(model, batches, method="exact", ablation="zero").mean()
    assert np.array_equal(scores[ABLATIONS.index("zero")], expected.numpy())
    assert np.ptp(scores, axis=0).max() > 0.1


def test_the_file_is_the_same_again_byte_by_byte(study, tmp_path):
    paths = study.model("target"), study.pairs("target", "a")
    settings = {"task": "a", "method": "nap", "batch_size": 3, **SETTINGS}
    attribute_nodes(*paths, tmp_path / "again", tmp_path / "cost", **settings)
    first = study.scores("target", "a").read_bytes()
    assert (tmp_path / "again").read_bytes() == first


def test_a_task_without_usable_pairs_has_unknown_scores(study):
    found = read_scores(study.scores("target", "none"))
    assert found.scores.shape == (10,)
    assert np.isnan(found.scores).all()
    assert found.metadata["examples"] == 0
    assert found.by_example.shape == (0, 10)
    assert read_json(study.cost("target", "none")) == []


def test_a_damaged_file_of_pairs_is_named(study, tmp_path):
    (tmp_path / "pairs.parquet").write_text("nothing")
    settings = {"task": "a", "method": "nap", "batch_size": 3, **SETTINGS}
    paths = study.model("target"), tmp_path / "pairs.parquet", tmp_path / "scores"
    with pytest.raises(ValueError, match="pairs.parquet: not a readable Parquet"):
        attribute_nodes(*paths, tmp_path / "cost", **settings)
    assert not (tmp_path / "scores").exists()
