import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from rope_types import VARIANTS, settings
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.interventions.families import check_sites
from circuit_transfer.models import architectures
from circuit_transfer.models.architectures import ARCHITECTURES, Architecture
from circuit_transfer.models.description import describe_configuration, describe_model
from circuit_transfer.models.loading import load_described, load_model, load_tokenizer
from circuit_transfer.models.nodes import node_names
from circuit_transfer.models.shape import skeleton
from circuit_transfer.prompts.batches import pair_batches

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
        "d_head": 8,
        "d_mlp": 48,
        "context": 64,
        "vocabulary": 50,
        "parameters": sum(each.numel() for each in load_model(folder).parameters()),
        "nodes": list(node_names(layers, 4)),
        "dtype": "bfloat16",
        "attn_implementation": None,
        "device_map": None,
        "parallel_mlp": False,
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
    wanted = "only pytorch_model.bin: .*arbitrary code.*save_pretrained.*`path:`"
    with pytest.raises(FileNotFoundError, match=wanted) as error:
        load_model(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("reader", [load_model, describe_model])
def test_an_unknown_family_is_named(folder, reader):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'mamba' is not supported; known: gemma2"):
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
    for reader in READERS:
        with pytest.raises(
            ValueError, match=r"model.safetensors: 44,996 bytes, expected"
        ):
            reader(folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_the_tokenizer_is_read_as_it_was_saved(tiny_checkpoint, tiny_tokenizer, family):
    text = "w3 w4: yes, no."
    found = load_tokenizer(tiny_checkpoint(family, layers=1))
    assert found.encode(text) == tiny_tokenizer().encode(text)
    assert found.unk_token_id == 0


def shard(folder, model):
    """Put a model's weights into a folder in several files."""
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    return sorted(folder.glob("model-*.safetensors"))


def test_weights_in_several_files_are_one_model(tiny_model, folder):
    expected = tiny_model("llama", layers=1)
    assert len(shard(folder, expected)) > 1
    found = load_model(folder, device="cpu").state_dict()
    assert found.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(found[name], value), name


def test_a_missing_shard_is_named(tiny_model, folder):
    last = shard(folder, tiny_model("llama", layers=1))[-1]
    last.unlink()
    with pytest.raises(FileNotFoundError, match=f"no {last.name}, which .*index.json"):
        describe_model(folder)


SPREAD = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "disk",
    "lm_head": "cpu",
}


@pytest.mark.parametrize("device_map", ["auto", SPREAD])
@pytest.mark.parametrize("method", ["nap", "nap-ig-activations", "nap-relp"])
def test_a_model_spread_over_devices_has_the_same_scores(
    tiny_checkpoint, tiny_pairs, device_map, method
):
    folder = tiny_checkpoint("llama", layers=2)
    plain = load_model(folder, device="cpu")
    spread = load_model(folder, device_map=device_map)
    waiting = {name for name, each in spread.named_parameters() if each.is_meta}
    assert bool(waiting) == (device_map == SPREAD)
    batches = list(pair_batches(tiny_pairs(), 3, "cpu"))
    scores = [attribute(m, batches, method=method, ig_steps=3) for m in (plain, spread)]
    expected, found = (each.mean() for each in scores)
    assert expected.abs().min() > 0
    assert torch.equal(found, expected)


def test_weights_on_the_disk_that_are_not_finite_are_named(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint("llama"), tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="weight model.layers.1.mlp.up_proj.weight is"):
        load_model(folder, device_map=SPREAD)


def test_attention_implementations_agree(tiny_checkpoint):
    folder, ids = tiny_checkpoint("llama"), torch.tensor([[4, 9, 30, 7]])
    logits = {}
    for name in ("eager", "sdpa"):
        model = load_model(folder, device="cpu", attn_implementation=name)
        assert model.config._attn_implementation == name
        logits[name] = model(ids).logits
    torch.testing.assert_close(logits["eager"], logits["sdpa"], rtol=1e-5, atol=1e-5)


def test_a_described_model_is_loaded_as_described(folder):
    options = {
        "dtype": "bfloat16",
        "attn_implementation": "eager",
        "device_map": "auto",
    }
    description = describe_model(folder, **options)
    assert description.items() >= options.items()
    model = load_described(json.loads(json.dumps(description)))
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_a_configuration_tells_what_the_model_has(tiny_model, family):
    model = tiny_model(family, layers=2)
    found = describe_configuration(model.config)
    assert found["parameters"] == sum(each.numel() for each in model.parameters())
    assert found["d_model"] == model.get_input_embeddings().embedding_dim
    assert found["nodes"] == list(node_names(2, found["heads"]))
    assert found["context"] == 64
    assert found["kv_heads"] <= found["heads"] == 4
    # What the heads write goes through a matrix that is as wide as all of them.
    row = ARCHITECTURES[family]
    layer = model.get_submodule(row.layers)[0]
    output = layer.get_submodule(row.attention_projection).weight
    assert found["heads"] * found["d_head"] * found["d_model"] == output.numel()


@pytest.mark.parametrize(
    ("name", "nodes", "parameters"),
    [
        ("meta-llama/Llama-3.2-1B", 528, 1_235_814_400),
        ("meta-llama/Llama-3.2-3B", 700, 3_212_749_824),
        ("meta-llama/Llama-3.1-8B", 1056, 8_030_261_248),
        ("Qwen/Qwen2.5-0.5B", 360, 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 364, 1_543_714_304),
        ("Qwen/Qwen2.5-3B", 612, 3_085_938_688),
        ("openai-community/gpt2", 156, 124_439_808),
    ],
)
def test_full_size_models_are_described_without_their_weights(name, nodes, parameters):
    path = Path(f"data/configurations/{name}.json")
    config = AutoConfig.from_pretrained(path)
    check_sites(skeleton(config))
    found = describe_configuration(config)
    assert len(found["nodes"]) == nodes
    assert found["parameters"] == parameters


@pytest.mark.parametrize(("family", "rope"), VARIANTS)
def test_every_rope_type_of_a_family_is_described(tiny_model, family, rope):
    config = tiny_model(family, **settings(family, rope)).config
    check_sites(skeleton(config))
    found = describe_configuration(config, check=check_sites)
    # Dynamic NTK doubles a context of 5 tokens here.
    assert found["context"] == (10 if rope == "dynamic" else 64)


NORM = "post_attention_layernorm"


@pytest.mark.parametrize(
    "row",
    [
        Architecture("model.layers", "self_attn.q_proj", "mlp", NORM),
        Architecture("model.layers", "self_attn.o_proj", "mlp.up_proj", NORM),
        Architecture("model.layers", "self_attn.o_proj", "feed_forward", NORM),
        Architecture("model.layers", "self_attn.c_proj", "mlp", NORM),
        Architecture("model.layers", "self_attn.o_proj", "mlp", "ln_2"),
        Architecture("model.layers", "self_attn.o_proj", "mlp", "mlp.down_proj"),
    ],
)
@pytest.mark.parametrize("rope", ["default", "dynamic"])
def test_a_wrong_row_of_the_table_of_families_is_found(
    monkeypatch, tiny_model, row, rope
):
    wide = settings("llama", rope) | {"hidden_size": 32, "head_dim": 16}
    config = tiny_model("llama", **wide).config
    check_sites(skeleton(config))
    monkeypatch.setitem(architectures.ARCHITECTURES, "llama", row)
    with pytest.raises(ValueError, match="table of families does not fit a llama"):
        check_sites(skeleton(config))


def set_tokenizer(folder, *, template=None, bos="<bos>", **settings):
    """Write settings, and what `tokenizer.json` itself puts around a text."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    if template:
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<bos>", "<eos>")]
        tokenizer.post_processor = TemplateProcessing(template, special_tokens=ids)
    tokenizer.save(str(path))
    settings |= {"bos_token": bos} if bos else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


BOS, W3 = 1, 7


@pytest.mark.parametrize(
    ("template", "settings", "expected"),
    [
        (None, {}, [W3]),
        (None, {"add_bos_token": False}, [W3]),
        # As older Gemma checkpoints: in the settings alone.
        (None, {"add_bos_token": True}, [BOS, W3]),
        # As Llama 3: in the tokenizer alone.
        ("<bos> $A", {}, [BOS, W3]),
        ("<bos> $A", {"bos": None}, [BOS, W3]),
        # As Mistral and newer Gemma: in both, and yet once.
        ("<bos> $A", {"add_bos_token": True}, [BOS, W3]),
        ("<bos> $A", {"add_bos_token": True, "bos": None}, [BOS, W3]),
    ],
)
def test_a_bos_token_is_put_before_a_text_once_if_wanted(
    folder, template, settings, expected
):
    set_tokenizer(folder, template=template, **settings)
    assert load_tokenizer(folder).encode("w3") == expected
    assert load_tokenizer(folder).encode("w3", add_special_tokens=False) == [W3]


def test_a_bos_token_without_a_name_is_an_error(folder):
    set_tokenizer(folder, bos=None, add_bos_token=True)
    with pytest.raises(ValueError, match="has add_bos_token and no bos_token"):
        load_tokenizer(folder)


def test_the_fingerprint_tells_whether_a_bos_token_is_added(folder):
    set_tokenizer(folder, add_bos_token=False)
    without = describe_model(folder)["tokenizer"]
    set_tokenizer(folder, add_bos_token=True)
    assert describe_model(folder)["tokenizer"] != without


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("special_tokens_map.json", {"bos_token": "<eos>"}),
        ("added_tokens.json", {"<sep>": 60}),
        ("tokenizer_config.json", {"add_bos_token": False}),
    ],
)
def test_the_fingerprint_tells_what_other_files_change(folder, name, content):
    """As in older fine-tunes, whose `tokenizer_config.json` does not repeat them."""
    set_tokenizer(folder, bos=None, add_bos_token=True, eos_token="<eos>")
    (folder / "special_tokens_map.json").write_text('{"bos_token": "<bos>"}')
    before, ids = describe_model(folder), load_tokenizer(folder).encode("w3 <sep>")
    (folder / name).write_text(json.dumps(content))
    assert load_tokenizer(folder).encode("w3 <sep>") != ids
    assert describe_model(folder)["tokenizer"] != before["tokenizer"]


def test_the_fingerprint_of_a_shipped_model_is_that_of_its_file():
    folder = Path("data/models/llama-small")
    expected = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()[:16]
    assert describe_model(folder)["tokenizer"] == expected
