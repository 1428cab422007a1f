import pytest
from describe_model import describe_model
from safetensors.torch import load_file, save_file

from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.models.architectures import ARCHITECTURES, Architecture
from circuit_transfer.models.description import describe_model as describe


def test_the_description_is_named_and_has_the_nodes(study):
    found = read_json(study.model("target"))
    assert found["model"] == "target"
    assert len(found["nodes"]) == 10
    assert found == {"model": "target", **describe(found["path"])}


def test_a_trained_model_brings_its_accuracy(tiny_checkpoint, tmp_path):
    checkpoint = tiny_checkpoint("gpt2", layers=1)
    accuracy = {"ioi": 0.99}
    path, record = tmp_path / "model.json", tmp_path / "training.json"
    write_json({"accuracy": accuracy, "steps": 7}, record)
    described = {"checkpoint": checkpoint, "load": {"dtype": "bfloat16"}}
    describe_model(path, model="tiny", **described, record_path=record)
    found = read_json(path)
    assert found["accuracy"] == accuracy
    assert found["dtype"] == "bfloat16"
    assert "hub" not in found


def test_a_model_that_was_made_from_another_one_brings_its_lineage(
    tiny_checkpoint, tmp_path
):
    checkpoint = tiny_checkpoint("llama", layers=1)
    path, record = tmp_path / "model.json", tmp_path / "training.json"
    lineage = {"relation": "pruned", "parent": "whole", "nodes": {"a0.h0": "a2.h5"}}
    write_json({"accuracy": {}, "lineage": lineage}, record)
    place = {"checkpoint": checkpoint, "load": {}}
    describe_model(path, model="tiny", **place, record_path=record)
    assert read_json(path)["lineage"] == lineage


def test_how_to_load_a_model_is_kept(tiny_checkpoint, tmp_path):
    load = {"dtype": "float16", "attn_implementation": "eager", "device_map": "auto"}
    checkpoint = tiny_checkpoint("gpt2", layers=1)
    path = tmp_path / "model.json"
    describe_model(path, model="tiny", checkpoint=checkpoint, load=load)
    assert read_json(path).items() >= load.items()


def test_a_missing_checkpoint_is_named(tmp_path):
    absent = {"checkpoint": tmp_path / "absent", "load": {}}
    with pytest.raises(FileNotFoundError, match="absent: no such checkpoint folder"):
        describe_model(tmp_path / "model.json", model="x", **absent)
    assert not (tmp_path / "model.json").exists()


def test_a_family_that_does_not_fit_is_found_before_weights_are_read(
    tiny_checkpoint, tmp_path, monkeypatch
):
    checkpoint = tiny_checkpoint("llama", layers=1)
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    norm = "post_attention_layernorm"
    row = Architecture("model.layers", "self_attn.o_proj", "mlp.up_proj", norm)
    monkeypatch.setitem(ARCHITECTURES, "llama", row)
    place = {"checkpoint": checkpoint, "load": {}}
    with pytest.raises(ValueError, match=f"{checkpoint}: .* does not fit a llama"):
        describe_model(tmp_path / "model.json", model="x", **place)
