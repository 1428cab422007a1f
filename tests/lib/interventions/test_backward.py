"""Gradients by other rules: no value changes, and each rule is as it is written."""

import pytest
import torch
from reference import embed, run
from reference_rules import following
from torch import nn

from circuit_transfer.interventions import (
    answer_logits,
    captured,
    gim_gradients,
    relp_gradients,
    run_prefix,
)
from circuit_transfer.interventions.backward import _softened
from circuit_transfer.interventions.projections import edited_projections
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.nonlinearities import all_norms, mlp_modules

FAMILIES = sorted(ARCHITECTURES)
RULES = {"gim": gim_gradients, "relp": relp_gradients}
IDS = torch.randint(4, 44, (2, 6), generator=torch.Generator().manual_seed(0))


def direction():
    """Return what the last logits are multiplied by: a sum without equal terms."""
    return torch.linspace(-1, 1, 50, dtype=torch.float64)


def assert_close(found, expected, share):
    """Compare with a tolerance relative to the largest number."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=share * scale
    )


def gradients(model, embeddings, after=None):
    """Return the gradients at the embeddings and at the nodes' outputs, and logits."""
    embeddings = embeddings.detach().requires_grad_()
    with captured(model) as sites:
        logits = answer_logits(model, embeddings=embeddings, after=after)
    target = (logits * direction()[: logits.shape[-1]].to(logits)).sum()
    return torch.autograd.grad(target, [embeddings, *sites]), logits


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_as_before(tiny_model, family, rules):
    model = tiny_model(family).requires_grad_(False)
    point = model.get_input_embeddings()(IDS).requires_grad_()
    prefix = run_prefix(model, IDS[:, :2])
    with captured(model) as before:
        logits = answer_logits(model, embeddings=point)
    with RULES[rules](model), captured(model) as within:
        others = answer_logits(model, embeddings=point)
        rest = answer_logits(model, embeddings=point[:, 2:], after=prefix)
    assert_close(others, logits, 1e-6)
    assert_close(rest, logits, 1e-6)
    for site, other in zip(before, within, strict=True):
        assert_close(other, site[:, -other.shape[1] :], 1e-6)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_written_rules(tiny_model, family, rules):
    model = tiny_model(family, dtype=torch.float64).requires_grad_(False)
    with RULES[rules](model):
        (found, *_), _ = gradients(model, model.get_input_embeddings()(IDS))
    plain = embed(model, IDS).requires_grad_()
    with following(rules):
        logits, _ = run(model, embeddings=plain)
    target = (logits[:, -1] * direction()[: logits.shape[-1]]).sum()
    (expected,) = torch.autograd.grad(target, plain)
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_repeated_keys_and_a_cached_prefix_give_the_same_gradients(
    tiny_model, family, rules
):
    model = tiny_model(family, dtype=torch.float64).requires_grad_(False)
    point = model.get_input_embeddings()(IDS)
    prefix = run_prefix(model, IDS[:, :3])
    keys = prefix.cache.layers[0].keys.shape[1]
    times = model.config.num_attention_heads // keys
    with RULES[rules](model):
        (whole, *_), _ = gradients(model, point)
        (rest, *_), _ = gradients(model, point[:, 3:], prefix)
        # Edited by what changes nothing, they run with a key for every query.
        with edited_projections(model, lambda _layer, _kind, value: value):
            found, _ = gradients(model, point[:, 3:], prefix.repeated(times))
    assert_close(rest, whole[:, 3:], 1e-6)
    assert_close(found[0], rest, 1e-6)


@pytest.mark.parametrize("family", ["gemma2", "olmo2"])
def test_hooks_from_before_see_the_gradients_by_the_rules(tiny_model, family):
    """Of families whose MLP node is the output of a norm."""
    model = tiny_model(family).requires_grad_(False)
    point = model.get_input_embeddings()(IDS).requires_grad_()
    with gim_gradients(model):
        (_, *expected), _ = gradients(model, point)
    with captured(model) as sites, gim_gradients(model):
        logits = answer_logits(model, embeddings=point)
    target = (logits * direction()[: logits.shape[-1]].to(logits)).sum()
    found = torch.autograd.grad(target, sites)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("rules", RULES)
def test_nothing_is_left_of_the_rules_after_an_error(tiny_model, rules):
    model = tiny_model("gemma2").requires_grad_(False)
    point = model.get_input_embeddings()(IDS)
    before, _ = gradients(model, point)
    kind = model.config._attn_implementation
    with pytest.raises(KeyError), RULES[rules](model):
        raise KeyError
    assert model.config._attn_implementation == kind
    hooks = [(*m._forward_hooks, *m._forward_pre_hooks) for m in model.modules()]
    assert not any(hooks)
    after, _ = gradients(model, point)
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_and_every_activation_is_known(tiny_model, family):
    model = tiny_model(family)
    norms = {m for m in model.modules() if type(m).__name__.endswith("Norm")}
    assert {*all_norms(model)} == norms
    assert len(all_norms(model)) == len(norms)
    projections = nn.Linear, type(mlp_modules(tiny_model("gpt2"))[0].projection)
    for module in mlp_modules(model):
        assert not [*module.activation.parameters()]
        assert isinstance(module.projection, projections)
    assert len({each.activation for each in mlp_modules(model)}) == 2


@pytest.mark.parametrize("family", ["llama", "mistral", "phi3", "qwen3", "olmo2"])
def test_relevance_is_conserved(tiny_model, family):
    """Of one token: all that is left is homogeneous, so inputs share out the output."""
    settings = {"attention_bias": False} if family == "olmo2" else {}
    model = tiny_model(family, dtype=torch.float64, **settings).requires_grad_(False)
    point = model.get_input_embeddings()(IDS[:, :1])
    with relp_gradients(model):
        (gradient, *_), logits = gradients(model, point)
    total = (gradient * point).sum()
    expected = (logits * direction()[: logits.shape[-1]]).sum()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)
    (gradient, *_), _ = gradients(model, point)
    assert ((gradient * point).sum() - expected).abs() > 1e-4 * expected.abs()


def test_a_saturated_softmax_passes_more_on():
    """By hand: of scores (s, 0) and values (1, 0) it is p (1 - p), at s / 2."""
    scores = torch.tensor([8.0, 0.0], requires_grad=True)
    pattern = _softened(scores)
    torch.testing.assert_close(pattern, scores.softmax(-1))
    (found,) = torch.autograd.grad(pattern[0], scores)
    soft = torch.sigmoid(torch.tensor(4.0))
    torch.testing.assert_close(found[0], soft * (1 - soft))


def test_a_relu_keeps_its_own_slope(tiny_model):
    model = tiny_model("gpt2", activation_function="relu").requires_grad_(False)
    x = torch.tensor([-1.0, -1e-8, 0.0, 1e-8, 2.0], requires_grad=True)
    activation = mlp_modules(model)[0].activation
    with relp_gradients(model):
        (found,) = torch.autograd.grad(activation(x).sum(), x)
    assert found.tolist() == [0, 0, 0, 1, 1]


def test_an_activation_has_the_slope_one_at_the_origin(tiny_model):
    model = tiny_model("llama").requires_grad_(False)
    x = torch.tensor([-2.0, 0.0, 1e-7, 3.0], requires_grad=True)
    with relp_gradients(model):
        (found,) = torch.autograd.grad(mlp_modules(model)[0].activation(x).sum(), x)
    expected = torch.sigmoid(x.detach())  # of the SiLU, x times its sigmoid
    expected[1:3] = 1
    torch.testing.assert_close(found, expected)
