"""Activations of heads: which rows, of which heads."""

import pytest
import torch

from circuit_transfer.distillation.activations import head_features, run_features
from circuit_transfer.interventions import answer_logits, captured
from circuit_transfer.models.nodes import head_place
from circuit_transfer.prompts.batches import pair_batches

HEADS = ["a1.h3", "a0.h1"]


def plain(model, ids, family):
    """Return the inputs of the output projections by layer, `(batch, position, d)`."""
    found = []
    stem = {
        "llama": "model.layers.{}.self_attn.o_proj",
        "gpt2": "transformer.h.{}.attn.c_proj",
    }
    for layer in range(2):
        module = model.get_submodule(stem[family].format(layer))
        module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    model(ids)
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("at", ["answer", "all"])
def test_features_are_what_the_output_projection_reads(
    tiny_model, tiny_pairs, family, at
):
    batches = pair_batches(tiny_pairs(6), 2)
    model = tiny_model(family).requires_grad_(False)
    found = run_features(model, batches, HEADS, at)
    for batch, features in zip(batches, found, strict=True):
        every = plain(tiny_model(family), batch.clean, family)
        for name, own in zip(HEADS, features, strict=True):
            layer, head = head_place(name)
            z = every[layer].chunk(4, dim=-1)[head]
            rows = z[:, -1] if at == "answer" else z.reshape(-1, z.shape[-1])
            torch.testing.assert_close(own, rows.detach())


def test_features_have_gradients_and_at_least_single_precision(tiny_model, tiny_pairs):
    (batch,) = pair_batches(tiny_pairs(4)[::2], 4)
    model = tiny_model("llama", dtype=torch.bfloat16)
    with captured(model) as sites:
        answer_logits(model, batch.clean)
    features = head_features(sites, HEADS, "answer")
    assert features.dtype == torch.float32 and features.shape == (2, 2, 8)
    features[1].sum().backward()
    gradient = model.model.layers[0].self_attn.v_proj.weight.grad
    assert gradient.any()
    assert not model.model.layers[1].self_attn.v_proj.weight.grad.any()


@pytest.mark.parametrize(
    "heads, at, message",
    [
        (
            ["a2.h0"],
            "all",
            "a2.h0 is not a head of the model, which has 2 layers of 4 h",
        ),
        (["a0.h4"], "all", "a0.h4 is not a head"),
        (["m0"], "all", "node m0: expected a head"),
        (["a0.h0"], "last", "positions 'last': expected one of answer, all"),
    ],
)
def test_unknown_heads_and_positions_are_refused(
    tiny_model, tiny_pairs, heads, at, message
):
    batches = pair_batches(tiny_pairs(2), 2)
    with pytest.raises(ValueError, match=message):
        run_features(tiny_model("llama"), batches, heads, at)
