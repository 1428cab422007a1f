import polars as pl
import pytest
import torch

from circuit_transfer.ablations import ABLATIONS
from circuit_transfer.attribution import METHODS, attribute
from circuit_transfer.batches import pair_batches
from circuit_transfer.faithfulness import evaluate_ablations, evaluate_circuits
from circuit_transfer.interventions import (
    Passes,
    answer_logits,
    counting,
    mixing,
    run_captured,
)
from circuit_transfer.nodes import node_names
from circuit_transfer.passes import measured, measured_together
from circuit_transfer.workload import Nodes, method_passes

# Seven pairs: four of 5 tokens, three of 7.
EXAMPLES, TOKENS = 7, 4 * 5 + 3 * 7
IDS = torch.tensor([[5, 9, 12], [6, 8, 8]])
N = len(node_names(2, 4))


def expected(forwards, forward_backwards):
    return Passes(
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
    batches = pair_batches(tiny_pairs(EXAMPLES), 3)
    with counting(model) as passes:
        attribute(model, batches, method=method, ig_steps=3, ablation=ablation)
    # The mean is taken in one more pass over the clean prompts.
    forwards += ablation == "mean"
    assert passes == expected(forwards, forward_backwards)


def test_every_method_is_counted():
    assert set(METHODS) == {"nap", "nap-ig-inputs", "nap-ig-activations", "exact"}


@pytest.mark.parametrize(
    # The full run, what is needed to ablate, and the empty circuit.
    ("ablation", "shared"),
    [("counterfactual", 3), ("zero", 2), ("mean", 3)],
)
@pytest.mark.parametrize("rows", [None, 1, 12])
def test_circuits_that_run_side_by_side_count_one_by_one(
    model, tiny_pairs, ablation, shared, rows
):
    batches = pair_batches(tiny_pairs(EXAMPLES), 3)
    rankings = pl.DataFrame({"scores": [list(range(N)), list(range(N))[::-1]]})
    settings = {"ablation": ablation, "rows": rows}
    with counting(model) as passes:
        evaluate_circuits(model, batches, rankings, (0.0, 0.3, 0.7, 1.0), **settings)
    assert passes == expected(shared + 4, 0)
    # The complement of the best of one ranking is what the other one thinks best.
    settings["complement_of"] = pl.lit(True)
    with counting(model) as passes:
        evaluate_circuits(model, batches, rankings, (0.0, 0.3, 0.7, 1.0), **settings)
    assert passes == expected(shared + 4, 0)


def test_costs_come_by_ablation(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(EXAMPLES), 3)
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
        assert passes == Passes(forwards=2, tokens=6)
        unused = answer_logits(model, embeddings=embeddings)
        logits = answer_logits(model, embeddings=embeddings)
        assert unused.requires_grad
        assert passes == Passes(forwards=6, tokens=18)
    logits.sum().backward(retain_graph=True)
    assert passes == Passes(4, 2, 12, 6)
    logits.sum().backward()
    assert passes == Passes(4, 2, 12, 6)


def test_a_gradient_to_a_mask_counts_too(model):
    mask = torch.full((N,), 0.5, requires_grad=True)
    _, outside = run_captured(model, IDS.flip(1))
    with counting(model) as passes, mixing(model, mask, outside):
        answer_logits(model, IDS).sum().backward()
    assert passes == Passes(0, 2, 0, 6)


def test_counts_stand_one_inside_another_and_end_with_their_context(model):
    with counting(model) as outer:
        model(IDS)
        with pytest.raises(KeyError), counting(model) as inner:
            model(input_ids=IDS)
            raise KeyError
    model(IDS)
    assert inner == Passes(forwards=2, tokens=6)
    assert outer == Passes(forwards=4, tokens=12)
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
