import json
import logging

import numpy as np
import pytest
from export_mib import export_mib
from safetensors import safe_open

from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.mib import from_importances


def export(study, folder, task="a", scores_of="target"):
    paths = folder / "importances.json", folder / "importances.safetensors"
    export_mib(study.model("target"), study.scores(scores_of, task), *paths)
    return paths


def test_both_files_hold_the_scores_bit_by_bit(study, tmp_path):
    importances_path, tensors_path = export(study, tmp_path)
    scores = read_scores(study.scores("target", "a"))
    read = from_importances(read_json(importances_path), scores.nodes)
    assert read.tobytes() == scores.scores.tobytes()
    dense = read_tensors(tensors_path)[0]["nodes_scores"]
    assert np.isnan(dense[0]) and dense[1:].tobytes() == scores.scores.tobytes()


def test_the_shape_is_that_of_the_checkpoint(study, tmp_path):
    importances_path, tensors_path = export(study, tmp_path)
    config = read_json(f"{read_json(study.model('target'))['path']}/config.json")
    cfg = read_json(importances_path)["cfg"]
    assert cfg["n_layers"] == config["num_hidden_layers"]
    assert cfg["n_heads"] == config["num_attention_heads"]
    assert cfg["d_model"] == config["hidden_size"]
    with safe_open(tensors_path, framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["cfg"]) == cfg
    assert json.loads(metadata["src_nodes"])[:2] == ["input", "a0.h0"]
    # Where the scores are from.
    assert (metadata["model"], metadata["task"]) == ("target", "a")
    assert metadata["method"] == "nap"


def test_a_task_without_usable_pairs_is_null_and_a_warning(study, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        importances_path, _ = export(study, tmp_path, task="none")
    assert "none.safetensors: the scores are not known" in caplog.text
    assert "NaN" not in importances_path.read_text()
    nodes = read_json(importances_path)["nodes"]
    assert {nodes[name]["score"] for name in ("a0.h0", "m1")} == {None}


def test_scores_of_another_model_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match=r"scores \(5,\) of a0.h0, .* of this model"):
        export(study, tmp_path, scores_of="source")
    assert not list(tmp_path.iterdir())
