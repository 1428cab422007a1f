"""Heads that matter, work against the answer, or back others up."""

import numpy as np
import polars as pl
import pytest
import torch
from reference_planted import Case

from circuit_transfer.circuits import heads as heads_module
from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.head_roles import check_heads, highest, roles_of
from circuit_transfer.circuits.heads import find_heads
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.embedded.planted.backup import EFFECT
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches


def planted(**entry):
    case = Case({"constant": 2e3, **entry}, 6, "kv-head")
    return case, case.model.float(), list(case.graph.writers[1:])


def described(frame):
    """Return effects by head, role and what it stands in for."""
    return {
        (row["head"], row["role"]): (
            pytest.approx(row["effect"], abs=0.01),
            pytest.approx(row["effect_without"], abs=0.01),
        )
        for row in frame.iter_rows(named=True)
    }


def test_gates_have_strong_heads_an_inhibitor_and_two_backups_of_each_other():
    case, model, nodes = planted(construction="gates")
    frame = find_heads(model, [case.batch], nodes)
    assert described(frame) == {
        ("a0.h0", "strongest"): (1, 1),
        ("a0.h1", "strongest"): (1, 1),
        ("a1.h0", "negative"): (-1.5, -1.5),
        ("a0.h2", "backup"): (0, 1),
        ("a0.h3", "backup"): (0, 1),
    }
    stands_in = dict(frame.filter(role="backup").select("head", "without").rows())
    assert stands_in == {"a0.h2": "a0.h3", "a0.h3": "a0.h2"}
    assert frame["role"].unique(maintain_order=True).to_list() == [
        *("strongest", "negative", "backup"),
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_heads_of_which_one_suffices_are_found_where_none_has_an_effect(seed):
    case, model, nodes = planted(construction="backup", seed=seed)
    frame = find_heads(model, [case.batch], nodes)
    groups = case.planted.alternatives["late"]["kv-head"]
    pairs = [
        [edges[0].removeprefix("input->").removesuffix("<v>") for edges in group[:2]]
        for group in groups
    ]
    expected = {name: other for a, b in pairs for name, other in ((a, b), (b, a))}
    backups = frame.filter(role="backup")
    assert dict(backups.select("head", "without").rows()) == expected
    np.testing.assert_allclose(backups["effect"], 0, atol=0.01)
    np.testing.assert_allclose(backups["effect_without"], EFFECT, atol=0.01)
    strongest = frame.filter(role="strongest")
    np.testing.assert_allclose(strongest["effect"], [EFFECT, EFFECT], atol=0.01)
    assert len(frame) == 6


def test_named_heads_are_described_in_their_order_and_no_others():
    case, model, nodes = planted(construction="gates")
    named = ["a0.h3", "a2.h1", "a0.h0"]
    frame = find_heads(model, [case.batch], nodes, named=named)
    assert frame["head"].to_list() == named and set(frame["role"]) == {"named"}
    np.testing.assert_allclose(frame["effect"], [0, 0, 1], atol=0.01)
    np.testing.assert_allclose(frame["effect_without"], [1, 0, 1], atol=0.01)
    assert frame["without"][0] == "a0.h2"


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_effects_are_those_of_circuits_without_these_heads(
    tiny_model, tiny_pairs, ablation
):
    model = tiny_model("llama", layers=3).requires_grad_(False)
    batches = pair_batches(tiny_pairs(9), 4)
    nodes = node_names(3, 4)
    frame = find_heads(model, batches, nodes, ablation=ablation)
    assert len(frame)
    rows = frame.drop_nulls("without").iter_rows(named=True)
    for row in rows:
        head, other = nodes.index(row["head"]), nodes.index(row["without"])
        masks = torch.ones(4, len(nodes))
        masks[1, head] = masks[2, other] = 0
        masks[3, [head, other]] = 0
        found = run_circuits(model, batches, masks, ablation=ablation).logit_diff
        every, alone, without, both = found.double().mean(1).tolist()
        assert row["effect"] == pytest.approx(every - alone, abs=1e-5)
        assert row["effect_without"] == pytest.approx(without - both, abs=1e-5)
        others = [x for x in frame["without"].unique() if x not in (None, row["head"])]
        for each in others:
            masks[2:] = 1
            masks[2, nodes.index(each)] = 0
            masks[3, [head, nodes.index(each)]] = 0
            less = run_circuits(model, batches, masks, ablation=ablation).logit_diff
            drop = less.double().mean(1)[2:]
            assert (drop[0] - drop[1]).item() <= row["effect_without"] + 1e-5


def test_gradients_for_shares_of_heads_are_finite_differences(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=2).requires_grad_(False).double()
    batches = pair_batches(tiny_pairs(4), 4)
    nodes = node_names(2, 4)
    is_head = np.array([not name.startswith("m") for name in nodes])
    ablated = heads_module.ablation_of(model, batches, "counterfactual")
    screen = heads_module._Screen(model, batches, ablated, is_head)

    def at(mask):
        diffs = []
        for batch in batches:
            with heads_module.mixing(model, mask, ablated.outputs(batch)):
                logits = heads_module.answer_logits(model, batch.clean)
            diffs.append(batch.logit_diff(logits).double())
        return torch.cat(diffs).mean().item()

    for kept, found in (
        (~is_head, screen.alone()),
        (np.ones(len(nodes), bool), screen._slopes(np.ones(len(nodes), bool))),
    ):
        for node in range(len(nodes)):
            step = torch.zeros(len(nodes), dtype=torch.float64)
            step[node] = 0.01
            mask = torch.from_numpy(kept).double()
            expected = (at(mask + step) - at(mask - step)) / 0.02
            wanted = expected if is_head[node] else 0.0
            assert found[node] == pytest.approx(wanted, rel=0.005, abs=1e-3)


def test_only_values_that_are_not_small_are_among_the_highest():
    values = np.array([0.0, 3, -100, 6, 5.1, 0.0, 7, 5])
    assert highest(values) == [6, 3, 4, 7]
    assert highest(values, 2) == [6, 3]
    assert highest(values, beside=130) == [6]
    assert highest(np.zeros(3)) == []


def test_roles_of_heads_whose_effect_grows():
    effects = np.array([5.0, 1.0, -2.0, 0.5, 0.0, 0.0, 0.0])
    drops = [9.0, None, 1.0, 0.6, 3.0, -0.5, 0.2]
    found = roles_of(effects, drops, strongest=2, negative=1)
    # Neither what grew from strong, nor from negative, nor what is small.
    assert found == ["strongest", "strongest", "negative", None, "backup", None, None]


@pytest.mark.parametrize("name", ["m0", "a3.h0", "a0.h4", "input"])
def test_what_is_no_head_of_the_model_is_refused(name):
    message = rf"'{name}' is not a head of the model; expected one of its 12 heads, "
    with pytest.raises(ValueError, match=message + "a0.h0 to a2.h3"):
        check_heads(["a0.h1", name], node_names(3, 4))


def test_a_model_without_any_effect_has_no_heads_to_show(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=2).requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
    frame = find_heads(model, pair_batches(tiny_pairs(4), 4), node_names(2, 4))
    assert isinstance(frame, pl.DataFrame) and frame.is_empty()
    named = find_heads(
        model, pair_batches(tiny_pairs(4), 4), node_names(2, 4), named=["a0.h0"]
    )
    assert named["effect"].to_list() == [0] and named["effect_without"][0] is None
