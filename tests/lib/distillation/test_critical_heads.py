"""Critical heads by ablation, by scores and by edges."""

import math

import numpy as np
import polars as pl
import pytest
import reference
import torch

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.distillation.critical_heads import (
    critical,
    head_count,
    rank_by_edges,
    rank_by_effect,
    rank_by_scores,
)
from circuit_transfer.distillation.head_effects import EFFECT_COLUMNS, head_effects
from circuit_transfer.models.edges import config_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches

NODES = node_names(2, 4)
HEADS = [name for name in NODES if name.startswith("a")]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_effects_are_those_of_plain_runs_with_the_mean(tiny_model, tiny_pairs, family):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(9), 4)
    plain = [reference.run(model, batch.clean) for batch in batches]
    for number, (batch, (logits, _)) in enumerate(zip(batches, plain, strict=True)):
        # What the model answers is right for all but one of a batch.
        batch.answers[number % 2 :, 0] = logits[number % 2 :, -1].argmax(-1)
    frame = head_effects(model, batches)
    assert frame.schema == pl.Schema(EFFECT_COLUMNS)
    assert frame["head"].to_list() == HEADS * 2
    tokens = sum(batch.clean.numel() for batch in batches)
    for name in HEADS:
        total = sum(outputs[name].sum((0, 1)) for _, outputs in plain)
        edit = reference.replaced({name: total / tokens})
        changed = [reference.run(model, b.clean, edit=edit)[0] for b in batches]
        for metric, measure in (("accuracy", share), ("logit-diff", difference)):
            row = frame.row(
                by_predicate=(pl.col("head") == name) & (pl.col("metric") == metric),
                named=True,
            )
            base = measure(batches, [logits for logits, _ in plain])
            assert row["base"] == pytest.approx(base, abs=1e-5)
            assert row["ablated"] == pytest.approx(measure(batches, changed), abs=1e-5)
            assert row["effect"] == row["base"] - row["ablated"]
    assert 0 < frame["base"][0] < 1 and frame["effect"][: len(HEADS)].n_unique() > 1


def share(batches, logits):
    right = [
        (out[:, -1].argmax(-1, keepdim=True) == batch.answers).any(1)
        for batch, out in zip(batches, logits, strict=True)
    ]
    return torch.cat(right).double().mean().item()


def difference(batches, logits):
    every = [
        reference.logit_diff(out, batch.answers, batch.wrong_answers)
        for batch, out in zip(batches, logits, strict=True)
    ]
    return torch.cat(every).mean().item()


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_effects_on_the_logit_difference_are_exact_scores(
    tiny_model, tiny_pairs, ablation
):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(6), 4)
    frame = head_effects(model, batches, ablation=ablation)
    found = frame.filter(metric="logit-diff")["effect"].to_numpy()
    exact = attribute(model, batches, method="exact", ablation=ablation).mean()
    wanted = [exact[NODES.index(name)].item() for name in HEADS]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def effects(accuracy, logit_diff):
    rows = [
        (f"a0.h{head}", metric, 1.0, 1.0 - value, value)
        for metric, values in (("accuracy", accuracy), ("logit-diff", logit_diff))
        for head, value in enumerate(values)
    ]
    return pl.DataFrame(rows, EFFECT_COLUMNS, orient="row")


def test_largest_drops_are_critical_and_ties_go_by_the_other_metric():
    frame = effects([0.1, 0.3, 0.1, -0.5, 0.1], [1.0, 0.0, 3.0, 9.0, 1.0])
    ranked = rank_by_effect(frame, "accuracy", 3)
    assert ranked["head"].to_list() == ["a0.h1", "a0.h2", "a0.h0", "a0.h4", "a0.h3"]
    assert ranked["score"].to_list() == [0.3, 0.1, 0.1, 0.1, -0.5]
    assert ranked["rank"].to_list() == [1, 2, 3, 4, 5]
    assert critical(ranked) == ["a0.h1", "a0.h2", "a0.h0"]
    assert critical(rank_by_effect(frame, "logit-diff", 1)) == ["a0.h3"]
    with pytest.raises(ValueError, match="'kl': expected one of accuracy, logit-diff"):
        rank_by_effect(frame, "kl", 1)


def test_critical_heads_of_several_groups_are_there_once():
    one = rank_by_scores(np.array([1.0, 3, 0, 2]), ["a0.h0", "a0.h1", "m0", "a1.h0"], 2)
    other = rank_by_scores(np.array([2.0, 0.0, 1.0]), ["a0.h0", "a0.h1", "a1.h0"], 2)
    assert critical(pl.concat([one, other])) == ["a0.h1", "a0.h0", "a1.h0"]


def test_critical_heads_without_an_effect_are_a_warning(caplog):
    frame = effects([0.1, 0.0, -0.1], [1.0, 0.0, -1.0])
    rank_by_effect(frame, "accuracy", 1)
    assert not caplog.records
    rank_by_effect(frame, "accuracy", 3)
    assert (
        "3 critical heads, but only 1 have an effect in this direction" in caplog.text
    )


def test_scores_of_either_sign_are_critical_and_those_of_mlps_are_left_out():
    nodes = node_names(2, 2)
    scores = np.array([0.5, -2.0, 9.0, 0.0, 1.0, -8.0])
    ranked = rank_by_scores(scores, nodes, 2)
    assert ranked["head"].to_list() == ["a0.h1", "a1.h1", "a0.h0", "a1.h0"]
    assert ranked["score"].to_list() == [-2, 1, 0.5, 0]
    assert critical(ranked) == ["a0.h1", "a1.h1"]
    with pytest.raises(ValueError, match=r"a1.h0 has no known score"):
        rank_by_scores(np.where(np.arange(6) == 3, np.nan, scores), nodes, 2)


def test_critical_by_edges_are_the_heads_that_start_the_highest_ones(tiny_model):
    graph = config_graph(tiny_model("llama", layers=3).config)
    values = np.random.default_rng(0).normal(size=graph.n_edges).astype(np.float32)
    names = graph.edge_names()
    found = []
    for edge in np.argsort(-values):
        writer = names[edge].partition("->")[0]
        if writer.startswith("a") and writer not in found:
            found.append(writer)
    ranked = rank_by_edges(graph.matrix(values), graph.writers, 5)
    assert ranked["head"].to_list() == found and len(found) == 12
    assert critical(ranked) == found[:5]
    first = max(v for v, n in zip(values, names, strict=True) if n.startswith(found[0]))
    assert ranked["score"][0] == pytest.approx(float(first))


@pytest.mark.parametrize(
    "count, heads", [(1, 1), (8, 8), (0.25, 2), (0.29, 2), (0.01, 1), (1.0, 8)]
)
def test_number_of_heads_is_a_count_or_a_share(count, heads):
    assert head_count(count, 8) == heads


@pytest.mark.parametrize("count", [0, 9, -1, 0.0, 1.5, math.nan])
def test_other_numbers_of_heads_are_refused(count):
    with pytest.raises(
        ValueError, match="critical heads: expected a whole number from "
    ):
        head_count(count, 8)
