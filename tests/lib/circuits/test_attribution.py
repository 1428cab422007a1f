import pytest
import reference
import torch
from torch import nn

from circuit_transfer.circuits.attribution import attribute, attribute_by_steps
from circuit_transfer.circuits.methods import node_methods
from circuit_transfer.interventions import counting
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.loading import load_model
from circuit_transfer.models.nonlinearities import all_norms
from circuit_transfer.prompts.batches import PairBatch, pair_batches

FAMILIES = sorted(ARCHITECTURES)
METHODS = node_methods()
WITHOUT_PROMPTS = [method for method in METHODS if method != "nap-ig-inputs"]


def assert_scores(actual, expected, share=1e-5):
    """Compare scores with a tolerance relative to the largest of them."""
    scale = expected.abs().max()
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=0, atol=share * scale.item()
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_the_slow_implementation(tiny_model, tiny_pairs, family, method):
    model, pairs = tiny_model(family).requires_grad_(False), tiny_pairs(4)
    expected = torch.stack(
        [
            reference.node_scores(model, pair, method, steps=3)
            for pair in pair_batches(pairs, batch_size=1)
        ]
    )
    result = attribute(model, pair_batches(pairs, 2), method=method, ig_steps=3)
    assert result.nodes.dtype == torch.float32
    assert_scores(result.nodes, expected)
    assert_scores(result.mean(), expected.mean(0))


@pytest.mark.parametrize("method", ["nap-ig-inputs", "nap-ig-activations"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_of_several_numbers_of_steps_gives_what_it_gives_alone(
    tiny_model, tiny_pairs, family, method
):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(5), 3)
    together = attribute_by_steps(model, batches, method=method, counts=[6, 1, 4])
    assert list(together) == [6, 1, 4]
    for steps, found in together.items():
        alone = [
            reference.node_scores(model, pair, method, steps=steps)
            for pair in pair_batches(tiny_pairs(5), 1)
        ]
        assert_scores(found.nodes, torch.stack(alone))
        expected = attribute(model, batches, method=method, ig_steps=steps)
        assert_scores(found.effect, expected.effect)
        if method == "nap-ig-inputs":
            assert_scores(found.input, expected.input)


# Halves and quarters are among the eighths; sixths are at four further places.
@pytest.mark.parametrize(("counts", "places"), [([2, 4, 8], 8), ([8, 6], 12)])
def test_steps_in_the_same_place_run_once(tiny_model, tiny_pairs, counts, places):
    model = tiny_model("llama").requires_grad_(False)
    for method, sites in (("nap-ig-inputs", 1), ("nap-ig-activations", 4)):
        with counting(model) as passes:
            batches = pair_batches(tiny_pairs(4), 4)
            attribute_by_steps(model, batches, method=method, counts=counts)
        assert passes.summary()["forward_backwards"] == 4 * sites * places


def test_numbers_of_steps_that_cannot_be_compared_are_refused(tiny_model):
    model = tiny_model("llama")
    with pytest.raises(ValueError, match=r"steps \[5, 5\]: expected different ones"):
        attribute_by_steps(model, [], method="nap-ig-inputs", counts=[5, 5])
    with pytest.raises(ValueError, match="2 numbers of steps with exact, which does"):
        attribute_by_steps(model, [], method="exact", counts=[5, 10])


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("method", WITHOUT_PROMPTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2"])
def test_scores_under_other_ablations_equal_the_slow_implementation(
    tiny_model, tiny_pairs, family, method, ablation
):
    model, pairs = tiny_model(family).requires_grad_(False), tiny_pairs(4)
    alone = pair_batches(pairs, batch_size=1)
    ablated = [
        reference.ablated_outputs(model, alone, pair, ablation) for pair in alone
    ]
    expected = torch.stack(
        [
            reference.node_scores(model, pair, method, steps=3, corrupted=outputs)
            for pair, outputs in zip(alone, ablated, strict=True)
        ]
    )
    settings = {"method": method, "ig_steps": 3, "ablation": ablation}
    result = attribute(model, pair_batches(pairs, 2), **settings)
    assert_scores(result.nodes, expected)
    assert result.input is None
    effects = []
    for pair, outputs in zip(alone, ablated, strict=True):
        ends = (
            reference.run(model, pair.clean),
            reference.run(model, pair.clean, edit=reference.replaced(outputs)),
        )
        diffs = (
            reference.logit_diff(logits, pair.answers, pair.wrong_answers)
            for logits, _ in ends
        )
        effects.append(next(diffs) - next(diffs))
    assert_scores(result.effect, torch.cat(effects))


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_a_way_between_prompts_needs_a_corrupted_prompt(tiny_model, ablation):
    with pytest.raises(
        ValueError,
        match=f"{ablation}.*methods nap, nap-ig-activations, nap-relp, exact",
    ):
        attribute(tiny_model("llama"), [], method="nap-ig-inputs", ablation=ablation)


def test_an_unknown_ablation_is_named(tiny_model):
    with pytest.raises(ValueError, match="'noise' is not one of counterfactual, zero"):
        attribute(tiny_model("llama"), [], method="nap", ablation="noise")


@pytest.mark.parametrize("method", METHODS)
def test_batch_size_and_order_do_not_matter(tiny_model, tiny_pairs, method):
    model, pairs = tiny_model("llama").requires_grad_(False), tiny_pairs(7)

    def mean(frame, batch_size):
        batches = pair_batches(frame, batch_size)
        return attribute(model, batches, method=method, ig_steps=2).mean()

    expected = mean(pairs, 7)
    # In batches of 3 the last one of a length is short and must not count more.
    for frame, batch_size in ((pairs, 1), (pairs, 3), (pairs.reverse(), 2)):
        assert_scores(mean(frame, batch_size), expected)


@pytest.mark.parametrize("method", METHODS)
def test_scores_do_not_grow_with_repeated_pairs(tiny_model, tiny_pairs, method):
    model, pairs = tiny_model("gpt2").requires_grad_(False), tiny_pairs(3)
    once = attribute(model, pair_batches(pairs, 4), method=method)
    twice = attribute(model, pair_batches(pairs.vstack(pairs), 4), method=method)
    assert len(twice.nodes) == 2 * len(once.nodes)
    assert_scores(twice.mean(), once.mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_effect_is_what_corrupting_everything_costs(tiny_model, tiny_pairs, family):
    model = tiny_model(family).requires_grad_(False)
    (pair,) = pair_batches(tiny_pairs(1), 1)
    whole, _ = reference.run(model, pair.clean)
    corrupted, _ = reference.run(model, pair.corrupted)
    ends = (
        reference.logit_diff(logits, pair.answers, pair.wrong_answers)
        for logits in (whole, corrupted)
    )
    expected = next(ends) - next(ends)
    for method in METHODS:
        result = attribute(model, [pair], method=method, ig_steps=1)
        assert_scores(result.effect, expected)
        summary = result.summary()
        assert summary["effect"] == pytest.approx(expected.item(), rel=1e-5)
        assert ("input_score" in summary) == (method != "nap-ig-activations")


def limit(model, batches, method, part, steps, **settings):
    """Return the limit of many steps: the error of the sum falls as one over steps."""
    few, many = (
        part(attribute(model, batches, method=method, ig_steps=each, **settings))
        for each in (steps, 2 * steps)
    )
    return 2 * many - few


@pytest.mark.parametrize("family", FAMILIES)
def test_input_scores_sum_to_the_effect(tiny_model, tiny_pairs, family):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4).gather_every(2), 4)
    effect = attribute(model, batches, method="nap").effect
    found = limit(model, batches, "nap-ig-inputs", lambda result: result.input, 80)
    assert_scores(found, effect, share=0.01)


@pytest.mark.parametrize(
    ("family", "ablation", "steps"),
    [
        *((family, "counterfactual", 25) for family in FAMILIES),
        # The way to where nothing is written is longer and more curved.
        *((family, "zero", 60) for family in ("llama", "gpt2")),
        *((family, "mean", 60) for family in ("gpt2", "qwen2")),
    ],
)
def test_integrated_activations_sum_to_ablating_the_site(
    tiny_model, tiny_pairs, family, ablation, steps
):
    model = tiny_model(family).requires_grad_(False)
    # The mean is that of two prompts of one length.
    pairs = pair_batches(tiny_pairs(3).gather_every(2), 2)

    def scores(result):
        return result.nodes[0]

    settings = {"ablation": ablation, "part": scores}
    found = limit(model, pairs, "nap-ig-activations", steps=steps, **settings)
    exact = scores(attribute(model, pairs, method="exact", ablation=ablation))
    mlps = slice(4, None, 5)
    assert_scores(found[mlps], exact[mlps], share=0.01)
    heads = found.reshape(2, 5)[:, :4].sum(1)
    assert_scores(heads, heads_ablated(model, pairs, ablation), share=0.01)


@torch.no_grad()
def heads_ablated(model, pairs, ablation):
    """Return the drop of the metric when all heads of a layer are ablated at once."""
    alone = [part for batch in pairs for part in singles(batch)]
    outside = reference.ablated_outputs(model, alone, alone[0], ablation)
    logits, _ = reference.run(model, alone[0].clean)
    whole = reference.logit_diff(logits, alone[0].answers, alone[0].wrong_answers)
    drops = []
    for layer in range(2):
        heads = {name: outside[name] for name in outside if f"a{layer}." in name}
        edit = reference.replaced(heads)
        logits, _ = reference.run(model, alone[0].clean, edit=edit)
        found = reference.logit_diff(logits, alone[0].answers, alone[0].wrong_answers)
        drops.append(whole - found)
    return torch.cat(drops)


def singles(batch):
    parts = (batch.clean, batch.corrupted, batch.answers, batch.wrong_answers)
    return [PairBatch(*row) for row in zip(*(p.split(1) for p in parts), strict=True)]


def test_gradients_are_summed_in_float32_whatever_the_model_computes_in(
    tiny_model, tiny_pairs
):
    model = linear_(tiny_model("gpt2", dtype=torch.bfloat16)).requires_grad_(False)
    batches = pair_batches(tiny_pairs(2), 2)
    expected = attribute(model, batches, method="nap").nodes
    # The gradient is the same at every step, and in bfloat16 256 + 1 is 256.
    for method in ("nap-ig-inputs", "nap-ig-activations"):
        found = attribute(model, batches, method=method, ig_steps=400).nodes
        assert_scores(found, expected, share=0.05)


def test_every_method_is_exact_on_a_linear_model(tiny_model, tiny_pairs):
    model = linear_(tiny_model("gpt2")).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    exact = attribute(model, batches, method="exact").nodes
    for method in ("nap", "nap-ig-inputs", "nap-ig-activations"):
        result = attribute(model, batches, method=method, ig_steps=3)
        assert_scores(result.nodes, exact)
        if result.input is not None:
            assert_scores(result.input, result.effect)


def linear_(model):
    """Take out what is not linear: norms, activations, and attention's softmax.

    Without queries and keys every head attends evenly to all earlier positions.
    """
    model.transformer.ln_f = nn.Identity()
    for block in model.transformer.h:
        block.ln_1 = block.ln_2 = block.mlp.act = nn.Identity()
        queries_and_keys = slice(0, 2 * model.config.n_embd)
        block.attn.c_attn.weight.data[:, queries_and_keys] = 0
        block.attn.c_attn.bias.data[queries_and_keys] = 0
    return model


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_a_bfloat16_model_are_float32(tiny_model, tiny_pairs, method):
    model = tiny_model("llama", dtype=torch.bfloat16).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 4)
    scores = attribute(model, batches, method=method, ig_steps=2).nodes
    rounded = model.float()
    expected = attribute(rounded, batches, method=method, ig_steps=2).nodes
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    # bfloat16 keeps 8 bits, and errors add up along the layers.
    assert_scores(scores, expected, share=0.15)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_ranks_the_nodes_alike(tiny_checkpoint, tiny_pairs, family):
    folder, batches = tiny_checkpoint(family), pair_batches(tiny_pairs(4), 4)
    models = {
        dtype: load_model(folder, dtype=dtype, device="cpu")
        for dtype in ("float32", "bfloat16", "float16")
    }
    for method in METHODS:
        scores = {
            dtype: attribute(model, batches, method=method, ig_steps=3).nodes.flatten()
            for dtype, model in models.items()
        }
        for dtype in ("bfloat16", "float16"):
            pair = torch.stack([scores["float32"], scores[dtype]])
            assert torch.corrcoef(pair)[0, 1] > 0.99, (dtype, method)
            assert not torch.equal(*pair)


def test_an_unknown_method_is_named(tiny_model):
    model = tiny_model("llama", layers=1)
    with pytest.raises(ValueError, match="'nip' is not one of nap, nap-ig-inputs"):
        attribute(model, [], method="nip")
    with pytest.raises(ValueError, match="eap scores edges; expected one of nap, "):
        attribute(model, [], method="eap")


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_relp_is_nap_where_only_attention_is_not_linear(tiny_model, tiny_pairs, family):
    """Norms that divide by their epsilon alone, and the identity as activation."""
    keys = {"gpt2": ("layer_norm_epsilon", "activation_function")}
    epsilon, activation = keys.get(family, ("layer_norm_eps", "hidden_act"))
    settings = {epsilon: 1e12, activation: "linear"}
    model = tiny_model(family, **settings).requires_grad_(False)
    for norm in all_norms(model):
        norm.weight.mul_(1e6)
    batches = pair_batches(tiny_pairs(5), 2)
    nap, relp = (attribute(model, batches, method=m) for m in ("nap", "nap-relp"))
    assert_scores(relp.nodes, nap.nodes)
    assert_scores(relp.input, nap.input)
    assert nap.effect.equal(relp.effect)
    plain = tiny_model(family).requires_grad_(False)
    nap, relp = (attribute(plain, batches, method=m) for m in ("nap", "nap-relp"))
    assert (relp.nodes - nap.nodes).abs().max() > 0.01 * nap.nodes.abs().max()
