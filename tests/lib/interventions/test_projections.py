"""Queries, keys and values, whatever module of a family computes them."""

import pytest
import torch

from circuit_transfer.interventions import answer_logits, run_prefix
from circuit_transfer.interventions.projections import (
    edited_projections,
    projection_weights,
    repeated_keys,
)
from circuit_transfer.models.architectures import (
    ARCHITECTURES,
    final_norm,
    layer_readers,
    norm_of,
)
from circuit_transfer.models.edges import KV

FAMILIES = sorted(ARCHITECTURES)
IDS = torch.randint(4, 44, (2, 6), generator=torch.Generator().manual_seed(0))


def same(_layer, _kind, value):
    return value


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_changes_nothing(tiny_model, family, kv):
    model = tiny_model(family, dtype=torch.float64)
    before = answer_logits(model, IDS)
    with edited_projections(model, same, kv=kv):
        within = answer_logits(model, IDS)
    torch.testing.assert_close(within, before)
    assert torch.equal(answer_logits(model, IDS), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cached_prefix_takes_a_key_for_every_query(tiny_model, family):
    model = tiny_model(family, dtype=torch.float64)
    before = answer_logits(model, IDS)
    prefix = run_prefix(model, IDS[:, :3])
    keys = prefix.cache.layers[0].keys.shape[1]
    with edited_projections(model, same):
        prefix = prefix.repeated(model.config.num_attention_heads // keys)
        within = answer_logits(model, IDS[:, 3:], after=prefix)
    torch.testing.assert_close(within, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_give_what_the_modules_compute(tiny_model, family):
    model = tiny_model(family, dtype=torch.float64)
    found, inputs = {}, []
    layers = layer_readers(model)
    hook = (
        layers[1]
        .projections[0]
        .register_forward_pre_hook(
            lambda _module, arguments: inputs.append(arguments[0])
        )
    )

    def keep(layer, kind, value):
        found[layer, kind] = value
        return value

    with edited_projections(model, keep, kv="kv-head"):
        answer_logits(model, IDS)
    hook.remove()
    for kind, (weight, bias) in projection_weights(model, layers[1]).items():
        expected = torch.einsum("btd,rwd->btrw", inputs[0], weight)
        expected = expected if bias is None else expected + bias
        torch.testing.assert_close(found[1, kind], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_by_query_add_up_to_those_by_key(tiny_model, family):
    model = tiny_model(family, dtype=torch.float64).requires_grad_(False)

    def gradients(kv):
        kept = {}

        def keep(layer, kind, value):
            kept[layer, kind] = value
            return value

        point = model.get_input_embeddings()(IDS).requires_grad_()
        with edited_projections(model, keep, kv=kv):
            logits = answer_logits(model, embeddings=point)
        names = [name for name in kept if name != (1, "q")]
        found = torch.autograd.grad(logits[:, 5].sum(), [kept[n] for n in names])
        return dict(zip(names, found, strict=True))

    by_query, by_key = gradients("query-head"), gradients("kv-head")
    for name, each in by_key.items():
        grouped = by_query[name].unflatten(2, (each.shape[2], -1)).sum(3)
        torch.testing.assert_close(grouped, each)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_described_as_they_compute(tiny_model, family):
    model = tiny_model(family)
    layer = layer_readers(model)[0]
    modules = [layer.attention_norm, layer.mlp_norm, layer.heads_norm]
    x = torch.randn(3, model.config.hidden_size, generator=torch.Generator())
    for module in [*filter(None, modules), final_norm(model)]:
        norm = norm_of(model, module)
        y = x - x.mean(-1, keepdim=True) if norm.centred else x
        y = y * (y.square().mean(-1, keepdim=True) + norm.eps).rsqrt() * norm.weight
        torch.testing.assert_close(
            module(x), y if norm.bias is None else y + norm.bias, rtol=1e-5, atol=1e-6
        )


def test_attention_is_as_before_after_an_error(tiny_model):
    model = tiny_model("phi3")
    attention = layer_readers(model)[0].attention
    before = attention.num_key_value_groups, attention.num_key_value_heads
    with pytest.raises(RuntimeError), repeated_keys(model):
        raise RuntimeError
    assert (attention.num_key_value_groups, attention.num_key_value_heads) == before
