"""What is measured of a student, against plain transformers and known cases."""

import numpy as np
import polars as pl
import pytest
import torch
from reference import run

from circuit_transfer.distillation.loss import logit_loss, task_losses
from circuit_transfer.distillation.measures import (
    Probe,
    answer_measures,
    circuit_measures,
    edge_correlation,
    matched_edges,
    node_correlation,
    steps_to,
)
from circuit_transfer.models.edges import config_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import PairBatch, pair_batches


def test_answers_are_measured_as_plain_transformers_gives_them(tiny_model, tiny_pairs):
    model, batches = tiny_model("llama"), pair_batches(tiny_pairs(60), 16)
    # So that some are right.
    right = [model(each.clean).logits[:, -1].argmax(-1)[:, None] for each in batches]
    for batch, best in zip(batches, right, strict=True):
        batch.answers[::3] = best[::3]
    found = answer_measures(model, batches)
    correct, above, losses = [], [], []
    for batch in batches:
        for ids, answer, wrong in zip(
            batch.clean, batch.answers[:, 0], batch.wrong_answers[:, 0], strict=True
        ):
            logits = model(ids[None]).logits[0, -1]
            correct.append(float(logits.argmax() == answer))
            above.append(float(logits[answer] > logits[wrong]))
            losses.append(torch.nn.functional.cross_entropy(logits, answer).item())
    assert (
        found["accuracy"] == pytest.approx(np.mean(correct))
        and 0.3 < np.mean(correct) < 0.6
    )
    assert found["right_above_wrong"] == pytest.approx(np.mean(above))
    assert found["task_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_of_several_right_answers_any_counts():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    answers, ids = torch.tensor([[0, 3], [1, -1]]), torch.zeros(2, 1, dtype=torch.long)
    found = task_losses(PairBatch(ids, ids, answers, answers), logits)
    share = (np.exp(2) + np.exp(-1)) / np.exp([2, 1, 0, -1]).sum()
    assert found.tolist() == pytest.approx([-np.log(share), np.log(4)])


def test_logits_are_compared_at_a_temperature():
    teacher, student = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    # Two tokens: logistic functions of halves of the differences, 2 and 1.
    p, q = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-0.5))
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert logit_loss(teacher, student, 2.0).item() == pytest.approx(
        4 * expected, rel=1e-5
    )
    assert logit_loss(teacher, teacher, 2.0).item() == 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_circuit_keeps_its_heads_and_all_mlps(tiny_model, tiny_pairs, family):
    model, heads = tiny_model(family, dtype=torch.float64), ["a0.h1", "a1.h2"]
    pairs = tiny_pairs(40).filter(pl.col("clean_ids").list.len() == 5)
    (batch,) = pair_batches(pairs, 40)
    nodes = node_names(2, 4)
    _, outputs = run(model, batch.clean)
    means = {
        node: each.mean((0, 1)).expand_as(each)
        for node, each in outputs.items()
        if node.startswith("a") and node not in heads
    }
    logits, _ = run(model, batch.clean, edit=lambda name, live: means.get(name, live))
    best = model(batch.clean).logits[:, -1].argmax(-1)
    alone = logits[:, -1].argmax(-1)
    batch.answers[:12, 0], batch.answers[15:, 0] = best[:12], alone[15:]
    expected = (alone == batch.answers[:, 0]).double().mean().item()
    whole = (best == batch.answers[:, 0]).double().mean().item()
    found = circuit_measures(model, [batch], heads, nodes)
    assert 0 < whole < 1 and 0 < expected < 1 and whole != expected
    assert found["accuracy"] == pytest.approx(whole)
    assert found["circuit_accuracy"] == pytest.approx(expected)
    assert found["faithfulness"] == pytest.approx(expected / found["accuracy"])
    batch.answers[:] = (best[:, None] + 1) % 50
    assert circuit_measures(model, [batch], heads, nodes)["faithfulness"] is None


@pytest.mark.parametrize("positions, known", [("answer", False), ("all", True)])
def test_of_too_few_held_out_pairs_the_answers_alone_are_measured(
    tiny_model, tiny_pairs, caplog, positions, known
):
    student, teacher = tiny_model("llama"), tiny_model("llama", layers=3)
    batches = [(each, each) for each in pair_batches(tiny_pairs(3), 3)]
    found = Probe(teacher, batches, [("a0.h1", "a2.h0")], positions)(student)
    assert found["task_loss"] > 0
    assert (found["cka"] is not None) == known
    assert ("takes at least 4 samples, and the usable pairs have 3" in caplog.text) == (
        not known
    )


def test_steps_to_an_accuracy_are_the_first_that_reach_it():
    probes = pl.DataFrame({"step": [0, 5, 10, 15], "accuracy": [0.1, 0.5, 0.4, 0.8]})
    assert [steps_to(probes, each) for each in (0.1, 0.5, 0.6, 0.9)] == [0, 5, 15, None]


def test_node_scores_are_compared_by_matched_heads():
    student = {"a0.h0": 1.0, "a0.h1": 2.0, "a1.h0": 4.0, "m0": 9.0}
    teacher = {"a3.h1": -2.0, "a0.h0": -4.0, "a2.h0": -8.0, "a9.h9": 7.0}
    pairs = [("a0.h0", "a3.h1"), ("a0.h1", "a0.h0"), ("a1.h0", "a2.h0")]
    assert node_correlation(student, teacher, pairs) == pytest.approx(-1)
    assert np.isnan(node_correlation(student, teacher, pairs[:1]))


def test_edges_correspond_by_their_heads(tiny_model):
    student = config_graph(tiny_model("llama", layers=2).config)
    teacher = config_graph(tiny_model("gpt2", layers=3).config)
    pairs = [("a0.h1", "a1.h0"), ("a1.h3", "a2.h2"), ("a1.h0", "a0.h3")]
    own, other = matched_edges(student, teacher, pairs)
    own_names, names = student.edge_names(), teacher.edge_names()
    found = {(own_names[a], names[b]) for a, b in zip(own, other, strict=True)}
    heads = dict(pairs)
    # By hand; the teacher's a0.h3 does not read its a1.h0.
    expected = {
        *(
            (f"input->{a}<{kind}>", f"input->{b}<{kind}>")
            for a, b in pairs
            for kind in "qkv"
        ),
        *((f"{a}->logits", f"{b}->logits") for a, b in pairs),
        *((f"a0.h1->a1.h3<{kind}>", f"a1.h0->a2.h2<{kind}>") for kind in "qkv"),
    } | {("input->logits", "input->logits")}
    assert found == expected and len(own) == len(expected) and len(heads) == 3
    scores, others = np.zeros(student.n_edges), np.zeros(teacher.n_edges)
    scores[own] = np.arange(len(own))
    others[other] = 5 - 2 * np.arange(len(own))
    graphs = student, teacher
    assert edge_correlation(scores, others, graphs, pairs) == pytest.approx(-1)
