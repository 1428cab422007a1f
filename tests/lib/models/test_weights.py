"""Weights that are those of the model, those that may be ignored, and all others."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.description import describe_model
from circuit_transfer.models.loading import load_model
from circuit_transfer.models.weights import CHUNK, is_finite

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MASK = torch.ones(1, 1, 64, 64).tril()
LOWEST = torch.tensor(-1e9).half()  # -inf
IDS = torch.tensor([[4, 9, 30, 7]])
READERS = (describe_model, load_model)


@pytest.fixture(scope="module")
def saved(tiny_checkpoint):
    """Checkpoints by family, saved once."""
    folders = {family: tiny_checkpoint(family) for family in ARCHITECTURES}
    return folders.__getitem__


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a llama's checkpoint that a test may change."""
    return shutil.copytree(saved("llama"), tmp_path / "checkpoint")


def change_weights(folder, change, dtype=None):
    """Save the weights anew, with what `change` adds, takes away and renames."""
    weights = load_file(folder / WEIGHTS)
    if dtype:
        weights = {name: value.to(dtype) for name, value in weights.items()}
    weights = change(weights) or weights
    weights = {name: value.contiguous() for name, value in weights.items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def change_config(folder, **values):
    path = folder / CONFIG
    config = json.loads(path.read_text()) | values
    # Of every layer, and the default.
    config.pop("layer_types", None)
    path.write_text(json.dumps(config))


def refused(folder):
    """Return what both readers say, which is the same."""
    said = []
    for reader in READERS:
        with pytest.raises(ValueError) as error:
            reader(folder)
        said.append(str(error.value))
    assert said[0] == said[1] and "\n" not in said[0]
    assert str(folder) in said[0]
    return said[0]


# What real exports have beside their weights, by family.


def old_gpt2(weights):
    """As on the hub: without the model's prefix, masks stored, unembedding not."""
    plain = {name.removeprefix("transformer."): weights[name] for name in weights}
    plain.pop("lm_head.weight", None)
    masks = {f"h.{layer}.attn.bias": MASK.to(torch.uint8) for layer in range(2)}
    lowest = {f"h.{layer}.attn.masked_bias": LOWEST.clone() for layer in range(2)}
    return plain | masks | lowest


def old_neox(weights):
    """As older Pythias: masks, their lowest value and rotary frequencies."""
    for layer in range(2):
        attention = f"gpt_neox.layers.{layer}.attention"
        weights[f"{attention}.bias"] = MASK.bool()
        weights[f"{attention}.masked_bias"] = LOWEST.clone()
        weights[f"{attention}.rotary_emb.inv_freq"] = torch.ones(2)


def old_rotary(weights):
    """As Llama 2: the frequencies of every layer."""
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        weights[name] = torch.full((4,), float("nan"))


def tied_twice(weights):
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()


def positions(weights):
    weights["model.embeddings.position_ids"] = torch.arange(64)[None]


EXPORTS = [(family, old_rotary) for family in set(ARCHITECTURES) - {"gpt2", "gpt_neox"}]
EXPORTS += [("gpt2", old_gpt2), ("gpt_neox", old_neox), ("llama", positions)]
EXPORTS += [(family, tied_twice) for family in ("gemma2", "gemma3_text", "qwen3")]


@pytest.mark.parametrize(("family", "change"), sorted(EXPORTS, key=str))
def test_what_real_exports_have_beside_their_weights_is_ignored(
    saved, tmp_path, tiny_model, family, change, capfd
):
    folder = shutil.copytree(saved(family), tmp_path / "checkpoint")
    change_weights(folder, change, torch.float16)
    assert describe_model(folder)["architecture"] == family
    found = load_model(folder, device="cpu")(IDS).logits
    expected = tiny_model(family)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.copy_(parameter.half())
    torch.testing.assert_close(found, expected(IDS).logits)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def test_weights_in_several_files_may_hold_buffers(saved, tmp_path, tiny_model):
    folder = shutil.copytree(saved("llama"), tmp_path / "checkpoint")
    (folder / WEIGHTS).unlink()
    tiny_model("llama").save_pretrained(folder, max_shard_size="10KB")
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    weights = load_file(shard)
    old_rotary(weights)
    save_file(weights, shard, {"format": "pt"})
    assert describe_model(folder)["layers"] == 2
    weights["stray.weight"] = torch.ones(3)
    save_file(weights, shard, {"format": "pt"})
    assert "1 have no place (stray.weight)" in refused(folder)


# What must not be ignored.


def added(*names, shape=(4,)):
    return lambda weights: weights | {name: torch.ones(shape) for name in names}


def without(part):
    return lambda weights: {key: weights[key] for key in weights if part not in key}


LORA = [f"model.layers.0.self_attn.q_proj.lora_{one}.default.weight" for one in "AB"]
BIASES = [f"model.layers.0.self_attn.{one}_proj.bias" for one in "kqv"]
STRAY = {
    "LoRA": (added(*LORA), f"2 have no place ({LORA[0]}, {LORA[1]}): an adapter"),
    "biases": (added(*BIASES), "q_proj.bias, model.layers.0.self_attn.v_proj.bias): b"),
    "layer": (
        added("model.layers.2.mlp.up_proj.weight"),
        "1 have no place (model.layers.2.mlp.up_proj.weight): layers beyond num_hid",
    ),
    "MLP's biases": (added("model.layers.1.mlp.up_proj.bias"), "): biases that config"),
    "value head": (added("v_head.summary.weight"), "(v_head.summary.weight): another"),
    "classes": (added("score.weight"), "(score.weight): another head, for values, rew"),
    "vision": (
        added(*(f"vision_tower.layers.{n}.weight" for n in range(9))),
        "9 have no place (vision_tower.layers.0.weight, vision_tower.layers.1.weight, "
        "vision_tower.layers.2.weight and 6 more): part of a multimodal model",
    ),
    "norm": (
        added("model.layers.0.self_attn.q_norm.weight"),
        "(model.layers.0.self_attn.q_norm.weight): of another model or another config",
    ),
    "scales": (
        added("model.layers.0.self_attn.q_proj.weight_scale_inv"),
        "weight_scale_inv): scales of quantised weights",
    ),
    "shape": (
        lambda weights: weights | {"model.norm.weight": torch.ones(31)},
        "1 of another shape (model.norm.weight: [31], expected [32])",
    ),
    "missing": (
        without("up_proj"),
        "2 are missing (model.layers.0.mlp.up_proj.weight, model.layers.1.mlp.up_pro",
    ),
    "unembedding": (
        without("lm_head"),
        "1 are missing (lm_head.weight)",
    ),
}


@pytest.mark.parametrize(("change", "message"), STRAY.values(), ids=STRAY)
def test_weights_of_another_model_are_named(folder, change, message, capfd):
    change_weights(folder, change)
    assert message in refused(folder)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_a_stray_weight_is_named_in_every_family(saved, tmp_path, family):
    folder = shutil.copytree(saved(family), tmp_path / "checkpoint")
    change_weights(folder, added("adapters.extra.weight"))
    assert "1 have no place (adapters.extra.weight)" in refused(folder)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_a_layer_too_many_is_named_in_every_layout(saved, tmp_path, family):
    folder = shutil.copytree(saved(family), tmp_path / "checkpoint")
    change_config(folder, **{"n_layer" if family == "gpt2" else "num_hidden_layers": 1})
    assert "layers beyond num_hidden_layers" in refused(folder)


def test_biases_of_neox_are_named(saved, tmp_path):
    folder = shutil.copytree(saved("gpt_neox"), tmp_path / "checkpoint")
    change_config(folder, attention_bias=False)
    said = refused(folder)
    assert "4 have no place (gpt_neox.layers.0.attention.dense.bias, " in said


def test_tied_matrices_that_differ_are_named(saved, tmp_path):
    folder = shutil.copytree(saved("qwen3"), tmp_path / "checkpoint")
    other = torch.ones_like(load_file(folder / WEIGHTS)["model.embed_tokens.weight"])
    change_weights(folder, lambda weights: weights | {"lm_head.weight": other})
    said = refused(folder)
    assert "lm_head.weight and model.embed_tokens.weight differ, but config" in said


# Values.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, -1])
def test_one_value_of_many_that_is_not_finite_is_found(dtype, place):
    values = torch.zeros(2, CHUNK // 2 + 3, dtype=dtype)
    assert is_finite(values)
    for value in (float("nan"), float("inf"), -float("inf")):
        values.view(-1)[place] = value
        assert not is_finite(values)


def test_no_values_and_the_largest_are_finite():
    assert is_finite(torch.zeros(0, 3))
    assert is_finite(torch.tensor(7.0))
    # Their sum is not.
    assert is_finite(torch.full((9,), torch.finfo(torch.float32).max))


def test_every_weight_is_checked(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint("llama", 1), tmp_path / "checkpoint")
    weights = load_file(folder / WEIGHTS)
    describe_model(folder)
    for name in weights:
        spoilt = {key: value.clone() for key, value in weights.items()}
        spoilt[name].view(-1)[-1] = float("nan")
        save_file(spoilt, folder / WEIGHTS, {"format": "pt"})
        message = f"checkpoint/{WEIGHTS}: weight {name} is not finite"
        with pytest.raises(ValueError, match=message):
            describe_model(folder)
