"""A cut model computes what the whole one does without what is cut off."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from circuit_transfer.models.cutting import cut, everything
from circuit_transfer.models.description import describe_configuration
from circuit_transfer.models.kept import Kept
from circuit_transfer.models.loading import load_model

SIZES = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 24,
    "head_dim": 6,
    "intermediate_size": 20,
    "vocab_size": 30,
    "pad_token_id": None,
}
# Other heads in each layer, of one group here and of both there.
KEPT = Kept(
    layers=(0, 2),
    heads=((2, 3), (0, 1)),
    kv_heads=((1,), (0,)),
    neurons=(tuple(range(5, 20)), tuple(range(15))),
    dimensions=tuple(range(0, 24, 2)),
)


def model_of(family: str, **more):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **more)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.requires_grad_(False)


def silenced(model, kept: Kept, width: int) -> None:
    """Zero by hand what a pruned Llama must not read any more."""
    lost = [d for d in range(model.config.hidden_size) if d not in kept.dimensions]
    model.model.embed_tokens.weight[:, lost] = 0
    for number, layer in enumerate(model.model.layers):
        projection, mlp = layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight
        projection[lost], mlp[lost] = 0, 0
        if number not in kept.layers:
            projection[:], mlp[:] = 0, 0
            continue
        place = kept.layers.index(number)
        for head in range(model.config.num_attention_heads):
            if head not in kept.heads[place]:
                projection[:, head * width : (head + 1) * width] = 0
        for neuron in range(model.config.intermediate_size):
            if neuron not in kept.neurons[place]:
                mlp[:, neuron] = 0


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_cut_model_is_the_whole_one_without_the_rest(family, tied):
    whole = model_of(family, tie_word_embeddings=tied)
    small = cut(whole, KEPT)
    silenced(whole, KEPT, width=6)
    ids = torch.arange(20)[None].repeat(2, 1) % 7
    expected, found = whole(ids).logits, small(ids).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    described = describe_configuration(small.config)
    sizes = {name: described[name] for name in KEPT.shape()}
    assert sizes == KEPT.shape() and described["d_head"] == 6


def test_a_kept_layer_keeps_its_window():
    kinds = ["full_attention", "full_attention", "sliding_attention"]
    window = {"use_sliding_window": True, "sliding_window": 4, "layer_types": kinds}
    whole = model_of("qwen2", **window)
    small = cut(whole, KEPT)
    silenced(whole, KEPT, width=6)
    ids = torch.arange(20)[None] % 7
    found, expected = small(ids).logits, whole(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_one_head_of_every_group_keeps_its_keys():
    whole = model_of("llama")
    kept = replace(
        everything(whole.config),
        heads=((1, 2), (0, 3), (0, 2)),
        kv_heads=((0, 1),) * 3,
    )
    small = cut(whole, kept)
    silenced(whole, kept, width=6)
    ids = torch.arange(15)[None]
    torch.testing.assert_close(small(ids).logits, whole(ids).logits)


def test_what_is_kept_whole_stays_bit_identical(tmp_path):
    whole = load_model("data/models/llama-small", device="cpu")
    small = cut(whole, everything(whole.config))
    ids = torch.arange(4, 34).reshape(2, 15)
    assert torch.equal(small(ids).logits, whole(ids).logits)
    small.save_pretrained(tmp_path)
    saved = (tmp_path / "config.json").read_text()
    assert "head_dim" in saved and '"rms_norm_eps": 1e-06' in saved


def test_sizes_are_saved_with_a_pruned_model(tmp_path):
    small = cut(model_of("qwen2"), replace(KEPT, dimensions=tuple(range(6, 24))))
    small.save_pretrained(tmp_path)
    ids = torch.arange(9)[None]
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids).logits, small(ids).logits)


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "olmo2", "phi3"])
def test_families_that_cannot_be_cut_are_refused(family):
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **SIZES | {"vocab_size": 10})
    )
    expected = f"{family!r} cannot be pruned; expected one of llama, mistral, qwen2"
    with pytest.raises(ValueError, match=expected):
        cut(model, KEPT)


def test_nodes_of_a_pruned_model_have_their_names_in_the_whole_one():
    assert KEPT.nodes() == {
        "a0.h0": "a0.h2",
        "a0.h1": "a0.h3",
        "m0": "m0",
        "a1.h0": "a2.h0",
        "a1.h1": "a2.h1",
        "m1": "m2",
    }
    assert Kept.read(KEPT.noted()) == KEPT
