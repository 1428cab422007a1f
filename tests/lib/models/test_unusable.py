"""Adapters and quantised weights are named as what they are, by files alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuit_transfer.models.checkpoints import check_checkpoint, check_listing

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tiny_checkpoint):
    return tiny_checkpoint("llama", layers=1)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a checkpoint that a test may change."""
    return shutil.copytree(saved, tmp_path / "checkpoint")


def refused(folder):
    with pytest.raises(ValueError) as error:
        check_checkpoint(folder)
    said = str(error.value)
    assert said.startswith(str(folder)) and "\n" not in said
    return said


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_a_model_is_named(folder, name):
    (folder / name).write_text("{}")
    said = refused(folder)
    assert f"an adapter ({name}) beside the model: merge it" in said
    assert "merge_and_unload" in said and "or remove it" in said


def test_an_adapter_instead_of_a_model_is_named(tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    said = refused(tmp_path)
    wanted = "an adapter (adapter_config.json, adapter_model.safetensors) instead of a"
    assert wanted in said and "merge_and_unload" in said


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "8 bits"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "compressed-tensors", "format": "x"}, "compressed-tensors"),
        ({"quant_method": "of tomorrow"}, "of tomorrow"),
        ({}, "by an unnamed method"),
        ("int8", "'int8'"),
    ],
)
def test_every_quantisation_in_a_configuration_is_named(folder, settings, method):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"quantization_config": settings}
    path.write_text(json.dumps(config))
    said = refused(folder)
    assert f"quantization_config: quantised weights ({method}): use the unq" in said
    assert "model.dequantize()" in said


def test_no_quantisation_is_none(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"quantization_config": None}
    path.write_text(json.dumps(config))
    check_checkpoint(folder)


@pytest.mark.parametrize("name", ["quantize_config.json", "hf_quant_config.json"])
def test_the_files_of_quantisations_are_named(folder, name):
    (folder / name).write_text("{}")
    assert f"quantised weights ({name}): use the unquantised" in refused(folder)


@pytest.mark.parametrize(
    ("dtype", "named"),
    [(torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8"), (torch.int32, "I32")],
)
def test_weights_that_are_no_floats_are_named(folder, dtype, named):
    weights = load_file(folder / WEIGHTS)
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name].to(dtype)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    said = refused(folder)
    assert f"{WEIGHTS}: weights of type {named}, expected F64, F32, F16, BF16" in said
    assert f"quantised weights ({name})" in said


def test_weights_in_files_of_other_names_are_refused(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"transformers_weights": "x.safetensors"}
    path.write_text(json.dumps(config))
    assert "transformers_weights: 'x.safetensors'; expected the wei" in refused(folder)


def test_adapters_of_other_folders_do_not_count():
    """The hub lists the files of every folder of a repository."""
    files = ["config.json", WEIGHTS, "tokenizer.json", "step-5/adapter_config.json"]
    check_listing(files, where="lab/model")
