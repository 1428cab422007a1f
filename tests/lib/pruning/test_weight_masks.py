"""Masks of single weights, against models whose weights are multiplied in place."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from circuit_transfer.interventions import answer_logits
from circuit_transfer.interventions.other_weights import with_weights
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.weight_masks import (
    complement,
    density,
    maskable_weights,
    masked_weights,
    pack_masks,
    unpack_masks,
)

FAMILIES = sorted(ARCHITECTURES)


def random_masks(weights, share=0.7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(each.shape, generator=generator) < share
        for name, each in weights.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_of_the_projections_has_a_mask_and_nothing_else(
    tiny_model, family
):
    model = tiny_model(family, layers=3)
    config = model.config
    width = config.hidden_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    heads = config.num_attention_heads * head
    keys = (getattr(config, "num_key_value_heads", None) or heads // head) * head
    inner = getattr(config, "n_inner", None) or config.intermediate_size
    mlp = 2 if family in ("gpt2", "gpt_neox") else 3
    weights = maskable_weights(model)
    # Keys and values that heads share count once.
    expected = 3 * width * (2 * heads + 2 * keys + mlp * inner)
    assert sum(each.numel() for each in weights.values()) == expected
    own = dict(model.named_parameters())
    assert all(torch.equal(own[name], each) for name, each in weights.items())
    rest = [name for name in own.keys() - weights.keys() if own[name].ndim > 1]
    assert all("emb" in x or "wte" in x or "wpe" in x or "head" in x for x in rest)


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_weights_do_what_weights_multiplied_in_place_do(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    other, batch = copy.deepcopy(model), pair_batches(tiny_pairs(4), 4)[0]
    weights = maskable_weights(model)
    masks = random_masks(weights)
    for name, mask in masks.items():
        other.get_parameter(name).mul_(mask)
    found = with_weights(
        model,
        masked_weights(weights, masks),
        lambda: answer_logits(model, batch.clean),
    )
    assert torch.equal(found, answer_logits(other, batch.clean))
    assert not torch.allclose(found, answer_logits(model, batch.clean), atol=1e-3)
    after = model.state_dict()
    assert all(torch.equal(each, after[name]) for name, each in before.items())


def test_the_gradient_of_masks_is_that_of_finite_differences(tiny_model, tiny_pairs):
    model = tiny_model("gpt2", dtype=torch.float64).requires_grad_(False)
    batch, weights = pair_batches(tiny_pairs(4), 4)[0], maskable_weights(model)
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(each.shape, generator=generator, dtype=torch.float64)
        for name, each in weights.items()
    }

    def loss(**changed):
        own = masked_weights(weights, masks | changed)
        logits = with_weights(
            model, own, lambda: model(batch.clean, logits_to_keep=1).logits[:, -1]
        )
        return batch.logit_diff(logits).sum()

    for name in masks:
        mask = masks[name].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(**{name: mask}), mask)
        direction = torch.randn(mask.shape, generator=generator, dtype=torch.float64)
        step = 1e-5 * direction
        low, high = (loss(**{name: masks[name] + s * step}) for s in (-1, 1))
        expected = float(high - low) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5)


def test_masks_are_packed_eight_to_a_byte_and_unpacked_to_the_same():
    shapes = {"a.weight": (3, 5), "b.weight": (8, 8), "c.weight": (1, 1)}
    masks = random_masks({name: torch.empty(shape) for name, shape in shapes.items()})
    packed = pack_masks(masks)
    assert {name: len(each) for name, each in packed.items()} == {
        "weights/a.weight": 2,
        "weights/b.weight": 8,
        "weights/c.weight": 1,
    }
    assert all(each.dtype == np.uint8 for each in packed.values())
    found = unpack_masks(packed | {"scores": np.zeros(3)}, shapes)
    assert found.keys() == masks.keys()
    for name, mask in masks.items():
        assert found[name].dtype == torch.bool and torch.equal(found[name], mask)
    kept = sum(int(each.sum()) for each in masks.values())
    assert density(found) == kept / 80
    both = [density(each) for each in (found, complement(found))]
    assert sum(both) == pytest.approx(1)


def test_a_mask_that_is_missing_or_of_another_shape_is_named():
    packed = pack_masks({"a.weight": torch.ones(3, 5)})
    with pytest.raises(ValueError, match="b.weight is missing; expected 2 bytes"):
        unpack_masks(packed, {"b.weight": (3, 5)})
    with pytest.raises(ValueError, match="has 2 bytes; expected 8 bytes .* 8 x 8"):
        unpack_masks(packed, {"a.weight": (8, 8)})


def test_weights_that_are_offloaded_are_refused(tiny_model):
    model = cpu_offload(tiny_model("llama"))
    with pytest.raises(ValueError, match="14 are offloaded .*masks: edges"):
        maskable_weights(model)


def test_gradients_reach_replaced_weights_and_not_the_model(tiny_model, tiny_pairs):
    model = tiny_model("gpt2").requires_grad_(False)
    batch = pair_batches(tiny_pairs(4), 4)[0]
    masks = {
        name: torch.ones_like(each).requires_grad_()
        for name, each in maskable_weights(model).items()
    }
    own = masked_weights(maskable_weights(model), masks)
    with_weights(model, own, lambda: answer_logits(model, batch.clean)).sum().backward()
    assert all(mask.grad.abs().max() > 0 for mask in masks.values())
    assert all(each.grad is None for each in model.parameters())
    names = [name for name, _ in model.named_parameters()]
    assert all(a != b for a, b in pairwise(names))
