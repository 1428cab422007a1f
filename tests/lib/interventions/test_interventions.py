import pytest
import reference
import torch
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer

from circuit_transfer.interventions import (
    answer_logits,
    captured,
    captured_stream,
    edited,
    mask_by_site,
    mixing,
    pushing,
    resumed,
    run_captured,
    run_prefix,
    running_circuits,
    site_outputs,
)
from circuit_transfer.models.architectures import (
    ARCHITECTURES,
    architecture_of,
    node_sites,
)
from circuit_transfer.models.nodes import node_names

VARIANTS = [
    *((family, {}) for family in sorted(ARCHITECTURES)),
    ("gpt_neox", {"use_parallel_residual": False}),
]
IDS = torch.tensor([[5, 9, 12, 7, 30], [6, 8, 8, 25, 30]])
OTHER = torch.tensor([[15, 9, 2, 17, 30], [16, 4, 8, 35, 30]])
NODES = node_names(2, 4)


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(map(str, variant)))
def model(tiny_model, request):
    family, settings = request.param
    return tiny_model(family, **settings).requires_grad_(False)


def unchanged(_site, live):
    return live


def contexts(model):
    """Return every context manager of the module, ready to be entered."""
    _, activations = run_captured(model, IDS)
    half = torch.full((len(NODES),), 0.5)
    return {
        "edited": edited(model, unchanged),
        "captured": captured(model),
        "mixing": mixing(model, half, activations),
        "pushing": pushing(model, half, activations),
    }


def count_hooks(model):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.modules()
    )


@pytest.mark.parametrize("name", ["edited", "captured", "mixing", "pushing"])
def test_hooks_are_removed_after_an_exception(model, name):
    before = answer_logits(model, IDS)
    with pytest.raises(KeyError, match="body"), contexts(model)[name]:
        assert count_hooks(model) == len(node_sites(model))
        answer_logits(model, IDS)
        raise KeyError("body")
    assert count_hooks(model) == 0
    assert torch.equal(answer_logits(model, IDS), before)


def test_hooks_are_removed_when_an_edit_raises(model):
    def broken(site, live):
        raise RuntimeError(f"edit of site {site}")

    with pytest.raises(RuntimeError, match="edit of site 2"):  # noqa: SIM117
        with edited(model, broken, sites=[2]):
            answer_logits(model, IDS)
    assert count_hooks(model) == 0


def test_an_edit_that_changes_nothing_changes_no_bit(model):
    before, activations = run_captured(model, IDS)
    assert torch.equal(before, answer_logits(model, IDS))
    with edited(model, unchanged):
        assert torch.equal(answer_logits(model, IDS), before)
    with mixing(model, torch.ones(len(NODES)), activations):
        assert torch.equal(answer_logits(model, IDS), before)
    with pushing(model, torch.zeros(len(NODES)), activations):
        assert torch.equal(answer_logits(model, IDS), before)


def test_the_answer_logits_are_those_of_the_last_position(model):
    every = model(IDS).logits
    torch.testing.assert_close(answer_logits(model, IDS), every[:, -1])
    embeddings = model.get_input_embeddings()(IDS)
    embedded = answer_logits(model, embeddings=embeddings)
    torch.testing.assert_close(embedded, every[:, -1])


def test_captured_heads_equal_the_reference(model):
    _, outputs = reference.run(model, IDS)
    _, activations = run_captured(model, IDS)
    for layer in range(2):
        mlp = activations[2 * layer + 1]
        assert mlp.shape == (2, 5, 1, model.config.hidden_size)
        assert close(mlp[..., 0, :], outputs[f"m{layer}"])
        z = activations[2 * layer]
        projection = node_sites(model)[2 * layer][0]
        assert z.shape[:3] == (2, 5, 4)
        assert z.flatten(-2).shape[-1] == projection.weight.numel() // mlp.shape[-1]
        whole = projection(z.flatten(-2))
        for head in range(4):
            without = z.clone()
            without[..., head, :] = 0
            written = whole - projection(without.flatten(-2))
            assert close(written, outputs[f"a{layer}.h{head}"])


def test_activations_come_in_the_order_of_the_sites(tiny_model):
    class MlpFirst(GPTNeoXLayer):
        def forward(self, residual, **settings):
            mlp = self.mlp(self.post_attention_layernorm(residual))
            attended, _ = self.attention(self.input_layernorm(residual), **settings)
            return residual + mlp + attended

    model = tiny_model("gpt_neox").requires_grad_(False)
    _, expected = run_captured(model, IDS)
    for layer in model.gpt_neox.layers:
        layer.__class__ = MlpFirst
    _, activations = run_captured(model, IDS)
    for found, one in zip(activations, expected, strict=True):
        torch.testing.assert_close(found, one)


@pytest.mark.parametrize("name", NODES)
def test_patching_one_node_replaces_its_contribution(model, name):
    _, other = reference.run(model, OTHER)
    edit = reference.replaced({name: other[name]})
    expected, _ = reference.run(model, IDS, edit=edit)
    _, activations = run_captured(model, OTHER)
    mask = torch.ones(len(NODES))
    mask[NODES.index(name)] = 0
    with mixing(model, mask, activations):
        assert close(answer_logits(model, IDS), expected[:, -1])


def test_soft_masks_mix_as_defined(model):
    mask = torch.rand(len(NODES), generator=torch.Generator().manual_seed(0))
    shares = dict(zip(NODES, mask.double(), strict=True))
    _, here = run_captured(model, IDS)
    _, there = run_captured(model, OTHER)
    _, plain_here = reference.run(model, IDS)
    _, plain_there = reference.run(model, OTHER)
    cases = [
        (mixing(model, mask, there), reference.mixed(shares, plain_there)),
        (
            mixing(model, mask, there, inside=here),
            reference.mixed(shares, plain_there, plain_here),
        ),
        (pushing(model, mask, there), reference.pushed(shares, plain_there)),
    ]
    for context, edit in cases:
        expected, _ = reference.run(model, IDS, edit=edit)
        with context:
            assert close(answer_logits(model, IDS), expected[:, -1])


def test_masks_in_one_pass_equal_masks_one_by_one(model):
    masks = torch.rand(3, len(NODES), generator=torch.Generator().manual_seed(0))
    _, here = run_captured(model, IDS)
    _, there = run_captured(model, OTHER)
    for context, settings in ((mixing, {}), (mixing, {"inside": here}), (pushing, {})):
        with context(model, masks, there, **settings):
            together = answer_logits(model, IDS.repeat(3, 1)).unflatten(0, (3, -1))
        for row, mask in enumerate(masks):
            with context(model, mask, there, **settings):
                alone = answer_logits(model, IDS)
            torch.testing.assert_close(together[row], alone)
            assert not torch.allclose(together[row - 1], alone)


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_after_a_cached_prefix_equals_the_whole_run(model, times):
    whole, activations = run_captured(model, IDS)
    prefix = run_prefix(model, IDS[:, :3])
    rest = IDS[:, 3:].repeat(times, 1)
    # Twice: what a pass adds to its cache is not there in the next one.
    for _ in range(2):
        logits, found = run_captured(model, rest, prefix)
        torch.testing.assert_close(logits, whole.repeat(times, 1))
    for site, each in enumerate(activations):
        torch.testing.assert_close(found[site], each[:, 3:].repeat(times, 1, 1, 1))
    embeddings = model.get_input_embeddings()(rest)
    logits = answer_logits(model, embeddings=embeddings, after=prefix)
    torch.testing.assert_close(logits, whole.repeat(times, 1))
    moved = prefix.moved(torch.clone)
    assert torch.equal(answer_logits(model, rest, after=moved), logits)
    assert len(moved.tensors()) == 2 * model.config.num_hidden_layers
    assert not any(
        a is b for a, b in zip(moved.tensors(), prefix.tensors(), strict=True)
    )


def test_circuits_with_bypassed_sites_equal_mixing(model):
    n_nodes, first = len(NODES), torch.arange(len(NODES))
    masks = torch.rand(9, n_nodes, generator=torch.Generator().manual_seed(0)).round()
    # Nothing, all, one head, one MLP, only the first layer, only the last.
    masks[0], masks[1] = 0, 1
    masks[2:4], masks[2, 1], masks[3, n_nodes // 2 - 1] = 0, 1, 1
    masks[4], masks[5] = first < n_nodes // 2, first >= n_nodes // 2
    _, there = run_captured(model, OTHER)
    constants = [site.mean((0, 1), keepdim=True) for site in there]
    zeros = [torch.zeros_like(site[:1, :1, :, :1]) for site in there]
    for outside in (there, constants, zeros):
        written = site_outputs(model, outside)
        for group in (*masks[:, None], masks[2:4], masks):
            with running_circuits(model, group, outside, written):
                found = answer_logits(model, IDS.repeat(len(group), 1))
            with mixing(model, group, outside):
                expected = answer_logits(model, IDS.repeat(len(group), 1))
            torch.testing.assert_close(found, expected)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_circuit_computes_only_what_it_needs(model):
    seen = []
    for module in model.modules():
        if hasattr(module, "weight") and module.weight.ndim == 2:
            module.register_forward_hook(lambda module, *_: seen.append(module))
    _, there = run_captured(model, OTHER)
    written = site_outputs(model, there)
    counts = {}
    for name, kept in {"none": [], "first": [0], "mlp": [-1], "all": NODES}.items():
        mask = torch.zeros(1, len(NODES))
        mask[0, kept if kept is not NODES else slice(None)] = 1
        seen.clear()
        with running_circuits(model, mask, there, written):
            answer_logits(model, IDS)
        counts[name] = len(seen)
    outside_layers = counts["none"]
    of_one_layer = (counts["all"] - outside_layers) // 2
    assert outside_layers <= 3
    heads, mlp = (counts[name] - outside_layers for name in ("first", "mlp"))
    assert 0 < heads < of_one_layer > mlp > 0
    assert heads + mlp == of_one_layer


def test_a_pass_from_a_site_on_equals_the_whole_pass(model):
    generator = torch.Generator().manual_seed(0)
    with captured(model) as sites, captured_stream(model) as stream:
        answer_logits(model, IDS)
    for site, activation in enumerate(sites):
        noise = torch.randn(2, *activation.shape, generator=generator)
        live = (activation + noise).flatten(0, 1).requires_grad_()
        ids = IDS.repeat(2, 1)
        with edited(model, lambda _site, _live, live=live: live, sites=[site]):
            expected = answer_logits(model, ids)
        with resumed(model, site, live, sites, stream):
            found = answer_logits(model, ids)
        torch.testing.assert_close(found, expected)
        gradients = [
            torch.autograd.grad(e[:, 0].sum(), live)[0] for e in (found, expected)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found, answer_logits(model, ids))


def test_a_replacement_may_broadcast_over_prompts_and_positions(model):
    _, there = run_captured(model, OTHER)
    one = [site[:1, :1].double() for site in there]
    every = [site[:1, :1].expand_as(site) for site in there]
    mask = torch.full((len(NODES),), 0.5)
    with mixing(model, mask, every):
        expected = answer_logits(model, IDS)
    with mixing(model, mask, one):
        assert torch.equal(answer_logits(model, IDS), expected)


def test_only_the_given_sites_are_edited(model):
    seen = []

    def record(site, live):
        seen.append((site, live.shape[-2]))
        return live

    with edited(model, record, sites=[1, 2]):
        answer_logits(model, IDS)
    assert seen == [(1, 1), (2, 4)]
    seen.clear()
    with edited(model, record):
        answer_logits(model, IDS)
    assert seen == [(0, 4), (1, 1), (2, 4), (3, 1)]


def test_a_mask_of_the_wrong_length_is_an_error(model):
    with pytest.raises(ValueError, match=r"mask \(9,\) for a model of 10 nodes"):
        mask_by_site(model, torch.ones(9))
    with pytest.raises(ValueError, match=r"mask \(1, 1, 10\)"):
        mixing(model, torch.ones(1, 1, 10), [])
    with pytest.raises(ValueError, match=r"mask \(2, 9\)"):
        mixing(model, torch.ones(2, 9), [])
    with pytest.raises(ValueError, match=r"mask \(11,\)"):
        pushing(model, torch.ones(11), [])
    assert count_hooks(model) == 0


def test_an_unknown_family_is_an_error():
    known = ", ".join(sorted(ARCHITECTURES))
    with pytest.raises(ValueError, match=f"'opt' is not supported; known: {known}"):
        architecture_of("opt")


def close(actual, expected):
    error = (actual.double() - expected).abs().max()
    return error < 1e-5 * expected.abs().max()
