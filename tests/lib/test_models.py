import json
import shutil

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from circuit_transfer.models import describe_model, load_model, load_tokenizer
from circuit_transfer.nodes import node_names

READERS = (load_model, load_tokenizer, describe_model)


@pytest.fixture(scope="module")
def saved(tiny_checkpoint):
    return tiny_checkpoint("llama", layers=1)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a checkpoint that a test may damage."""
    return shutil.copytree(saved, tmp_path / "checkpoint")


def test_a_checkpoint_loads_frozen_and_as_it_was(tiny_model, folder):
    model = load_model(folder, device="cpu")
    expected = tiny_model("llama", layers=1)
    for (name, found), value in zip(
        model.named_parameters(), expected.parameters(), strict=True
    ):
        assert torch.equal(found, value), name
        assert not found.requires_grad
    assert not model.training
    ids = load_tokenizer(folder).encode("w3 w4 yes")
    assert ids == [7, 8, 48]
    tokens = torch.tensor([ids])
    assert torch.equal(model(tokens).logits, expected(tokens).logits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_loaded_in_the_type_asked_for(folder, dtype):
    model = load_model(folder, dtype=dtype, device="cpu")
    assert {each.dtype for each in model.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    ("family", "layers", "kv_heads"), [("llama", 1, 2), ("qwen2", 2, 2), ("gpt2", 3, 4)]
)
def test_a_description_has_what_the_study_needs(
    tiny_checkpoint, family, layers, kv_heads
):
    folder = tiny_checkpoint(family, layers=layers)
    found = describe_model(folder, dtype="bfloat16")
    assert len(found.pop("tokenizer")) == 16
    assert found == {
        "path": str(folder),
        "architecture": family,
        "layers": layers,
        "heads": 4,
        "kv_heads": kv_heads,
        "d_model": 32,
        "context": 64,
        "vocabulary": 50,
        "dtype": "bfloat16",
        "nodes": list(node_names(layers, 4)),
    }
    assert len(found["nodes"]) == layers * 5


def test_the_fingerprint_is_the_tokenizer_s_alone(folder):
    first = describe_model(folder)["tokenizer"]
    (folder / "README.md").write_text("other")
    assert describe_model(folder)["tokenizer"] == first
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("yes", "yep"))
    assert describe_model(folder)["tokenizer"] != first


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_folder_is_named(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match="absent: no such checkpoint folder"):
        reader(tmp_path / "absent")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("missing", "what"),
    [
        ("config.json", r"no model configuration \(config.json\)"),
        ("model.safetensors", "no safetensors weights"),
        ("tokenizer.json", r"no tokenizer \(tokenizer.json\)"),
    ],
)
def test_a_missing_file_is_named(folder, reader, missing, what):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=what) as error:
        reader(folder)
    assert str(folder) in str(error.value)


def test_pickled_weights_are_not_read(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="safetensors weights"):
        load_model(folder)


@pytest.mark.parametrize("reader", [load_model, describe_model])
def test_an_unknown_family_is_named(folder, reader):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'mistral' is not supported; known: gpt2"):
        reader(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="weight model.norm.weight is not finite"):
        load_model(folder)


def test_a_checkpoint_with_a_missing_weight_is_not_filled_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="model.layers.0.mlp.up_proj.weight"):
        load_model(folder)


def test_truncated_weights_are_an_error(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SafetensorError, match="(?i)incomplete|deserializing"):
        load_model(folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_the_tokenizer_is_read_as_it_was_saved(tiny_checkpoint, tiny_tokenizer, family):
    text = "w3 w4: yes, no."
    found = load_tokenizer(tiny_checkpoint(family, layers=1))
    assert found.encode(text) == tiny_tokenizer().encode(text)
    assert found.unk_token_id == 0
