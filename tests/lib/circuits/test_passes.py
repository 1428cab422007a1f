import polars as pl
import pytest
import torch

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.faithfulness import evaluate_ablations, evaluate_circuits
from circuit_transfer.circuits.methods import (
    Nodes,
    method_of,
    method_passes,
    node_methods,
)
from circuit_transfer.circuits.passes import measured, measured_together, shared_out
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import (
    answer_logits,
    counting,
    mixing,
    run_captured,
)
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches

# Seven pairs: four of 5 tokens, three of 7.
EXAMPLES, TOKENS = 7, 4 * 5 + 3 * 7
IDS = torch.tensor([[5, 9, 12], [6, 8, 8]])
N = len(node_names(2, 4))


def counts(*numbers):
    names = ("forwards", "forward_backwards", "tokens", "backward_tokens")
    return dict(zip(names, numbers, strict=True))


def expected(forwards, forward_backwards):
    return counts(
        EXAMPLES * forwards,
        EXAMPLES * forward_backwards,
        TOKENS * forwards,
        TOKENS * forward_backwards,
    )


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize(
    ("method", "by_hand"),
    [
        ("nap", (1, 1)),
        ("nap-ig-inputs", (1, 3)),
        ("nap-ig-activations", (2, 4 * 3)),
        ("nap-relp", (1, 1)),
        ("exact", (2 + 10, 0)),
    ],
)
def test_attribution_counts_as_by_hand_and_as_planned(
    model, tiny_pairs, method, by_hand, ablation
):
    if method == "nap-ig-inputs" and ablation != "counterfactual":
        pytest.skip("needs corrupted prompts")
    assert method_passes(method, Nodes(10, 4), 3) == by_hand
    forwards, forward_backwards = by_hand
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 3)
    with counting(model) as passes:
        attribute(model, batches, method=method, ig_steps=3, ablation=ablation)
    # The mean is taken in one more pass over the clean prompts.
    forwards += ablation == "mean"
    found, whole = passes.summary(), expected(forwards, forward_backwards)
    if method_of(method).layers < 1:
        found.pop("tokens"), found.pop("backward_tokens")
    assert found.items() <= whole.items()


def test_every_method_is_counted():
    (counted,) = [
        mark.args[1]
        for mark in test_attribution_counts_as_by_hand_and_as_planned.pytestmark
        if mark.args[0] == ("method", "by_hand")
    ]
    assert node_methods() == tuple(method for method, _ in counted)


@pytest.mark.parametrize(
    # The full run, what is needed to ablate, and the empty circuit.
    ("ablation", "shared"),
    [("counterfactual", 3), ("zero", 2), ("mean", 3)],
)
@pytest.mark.parametrize("rows", [None, 1, 12])
def test_circuits_that_run_side_by_side_count_one_by_one(
    model, tiny_pairs, ablation, shared, rows
):
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 3)
    rankings = pl.DataFrame({"scores": [list(range(N)), list(range(N))[::-1]]})
    settings = {"ablation": ablation, "rows": rows}
    for settings["complement_of"] in (None, pl.lit(True)):
        # The complement of the best of one ranking is what the other one thinks best.
        with counting(model) as passes:
            evaluate_circuits(
                model, batches, rankings, (0.0, 0.3, 0.7, 1.0), **settings
            )
        found, whole = passes.summary(), expected(shared + 4, 0)
        assert 0 < found.pop("tokens") < whole["tokens"]
        assert found.items() <= whole.items()


def test_a_token_counts_as_far_as_it_goes_through_the_layers(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 3)
    rankings = pl.DataFrame({"scores": [list(range(N))[::-1]]})
    with counting(model) as passes:
        evaluate_circuits(model, batches, rankings, (0.1,))
    attention = model.model.layers[0].self_attn
    parts = {n: e.numel() for n, e in attention.named_parameters() if e.ndim == 2}
    # Two whole runs, what the heads of both layers add when ablated, nothing for the
    # empty circuit, and for that of one head in the first layer its attention alone.
    once = sum(parts.values()) + 2 * parts["o_proj.weight"]
    assert passes.products == TOKENS * (2 * passes.weights + once)
    assert passes.summary()["tokens"] == round(passes.products / passes.weights)


def test_circuits_that_begin_alike_run_their_first_layers_once(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 3)
    # The first head and the first MLP, and either of two heads of the second layer.
    masks = torch.zeros(2, N)
    masks[:, [0, 4]], masks[0, 5], masks[1, 6] = 1, 1, 1
    with counting(model) as passes:
        run_circuits(model, batches, masks, rows=1)
    first, second = (
        {n: e.numel() for n, e in layer.named_parameters() if e.ndim == 2}
        for layer in model.model.layers
    )
    heads = sum(n for name, n in second.items() if "self_attn" in name)
    ablated = sum(each["self_attn.o_proj.weight"] for each in (first, second))
    once = 2 * passes.weights + ablated + sum(first.values()) + 2 * heads
    assert passes.products == TOKENS * once


def test_what_prompts_have_in_common_counts_once(model, tiny_pairs):
    # Three of the seven pairs have seven tokens, of which the first two are the same.
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=2), 3)
    with counting(model) as passes:
        attribute(model, batches, method="nap")
    rest = TOKENS - 3 * 2
    assert passes.summary() == counts(EXAMPLES, EXAMPLES, rest + 3 * 2, rest)


@pytest.mark.parametrize("parts", [["a", "b"], ["a"], []])
def test_what_ran_side_by_side_is_shared_out(parts):
    cost = {"part": "fits", "model": "small", "seconds": 3.0, **counts(0, 12, 0, 60)}
    found = shared_out(cost, parts)
    assert [each["part"] for each in found] == parts
    for name in ("seconds", "forward_backwards", "backward_tokens") if parts else ():
        assert sum(each[name] for each in found) == cost[name]
        assert {each["model"] for each in found} == {"small"}


def test_costs_come_by_ablation(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(EXAMPLES, shared=0), 3)
    rankings = pl.DataFrame({"control": ["none"], "scores": [list(range(N))]})
    frame, costs = evaluate_ablations(
        model,
        batches,
        rankings,
        (0.5, 1.0),
        ablations=["zero", "counterfactual"],
        model_name="small",
    )
    assert frame["ablation"].to_list() == ["zero"] * 2 + ["counterfactual"] * 2
    assert frame.columns[:3] == ["control", "ablation", "proportion"]
    assert [(each["part"], each["model"], each["forwards"]) for each in costs] == [
        ("zero", "small", EXAMPLES * 3),
        ("counterfactual", "small", EXAMPLES * 4),
    ]


def test_a_prompt_counts_as_backward_once_a_gradient_reaches_its_logits(model):
    embeddings = model.get_input_embeddings()(IDS).requires_grad_()
    with counting(model) as passes:
        answer_logits(model, IDS)
        assert passes.summary() == counts(2, 0, 6, 0)
        unused = answer_logits(model, embeddings=embeddings)
        logits = answer_logits(model, embeddings=embeddings)
        assert unused.requires_grad
        assert passes.summary() == counts(6, 0, 18, 0)
    logits.sum().backward(retain_graph=True)
    assert passes.summary() == counts(4, 2, 12, 6)
    logits.sum().backward()
    assert passes.summary() == counts(4, 2, 12, 6)


def test_a_gradient_to_a_mask_counts_too(model):
    mask = torch.full((N,), 0.5, requires_grad=True)
    _, outside = run_captured(model, IDS.flip(1))
    with counting(model) as passes, mixing(model, mask, outside):
        answer_logits(model, IDS).sum().backward()
    assert passes.summary() == counts(0, 2, 0, 6)


def test_counts_stand_one_inside_another_and_end_with_their_context(model):
    with counting(model) as outer:
        model(IDS)
        with pytest.raises(KeyError), counting(model) as inner:
            model(input_ids=IDS)
            raise KeyError
    model(IDS)
    assert inner.summary() == counts(2, 0, 6, 0)
    assert outer.summary() == counts(4, 0, 12, 0)
    assert not model._forward_hooks


def test_a_row_of_costs_is_whole_when_its_context_ends(model):
    with measured("fit", "small", model) as row:
        answer_logits(model, IDS)
        assert row == {"part": "fit", "model": "small"}
    seconds = row.pop("seconds")
    assert 0 < seconds < 60
    assert row == {
        "part": "fit",
        "model": "small",
        "forwards": 2,
        "forward_backwards": 0,
        "tokens": 6,
        "backward_tokens": 0,
    }


def test_models_that_run_together_have_a_row_each_and_one_time(tiny_model):
    models = {name: tiny_model("llama", seed=n) for n, name in enumerate("ab")}
    with measured_together("both", models) as rows:
        for name, times in (("a", 1), ("b", 2)):
            for _ in range(times):
                answer_logits(models[name], torch.tensor([[5, 6, 7]]))
        assert rows == []
    assert [(row["model"], row["forwards"], row["tokens"]) for row in rows] == [
        ("a", 1, 3),
        ("b", 2, 6),
    ]
    assert rows[0]["seconds"] == 0 < rows[1]["seconds"]
