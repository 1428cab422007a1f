import math

import polars as pl
import pytest
import reference
import torch

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import counting
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import (
    pair_batches,
)

FAMILIES = sorted(ARCHITECTURES)
NODES = node_names(2, 4)
N = len(NODES)


def random_masks(n_masks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (n_masks, N), generator=generator).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_is_the_corrupted_run_and_full_the_clean_run(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family)
    batches = pair_batches(tiny_pairs(6), 2)
    ends = torch.stack([torch.zeros(N), torch.ones(N)])
    metrics = run_circuits(model, batches, ends)
    for row, side in enumerate(("corrupted", "clean")):
        diffs = []
        for batch in batches:
            logits, _ = reference.run(model, getattr(batch, side))
            diffs.append(
                reference.logit_diff(logits, batch.answers, batch.wrong_answers)
            )
        torch.testing.assert_close(
            metrics.logit_diff[row].double(), torch.cat(diffs), rtol=1e-5, atol=1e-5
        )
    assert (metrics.kl[1] == 0).all()
    assert (metrics.kl[0] > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_circuits_equal_plain_patching(tiny_model, tiny_pairs, family):
    model, pairs = tiny_model(family), tiny_pairs(4)
    masks = random_masks(4)
    metrics = run_circuits(model, pair_batches(pairs, 2), masks)
    for example, pair in enumerate(pair_batches(pairs, 1)):
        _, corrupted = reference.run(model, pair.corrupted)
        full, _ = reference.run(model, pair.clean)
        for circuit, mask in enumerate(masks):
            outside = {
                name: corrupted[name]
                for name, inside in zip(NODES, mask, strict=True)
                if not inside
            }
            edit = reference.replaced(outside)
            logits, _ = reference.run(model, pair.clean, edit=edit)
            expected = by_hand(logits[0, -1], full[0, -1], pair)
            found = (
                metrics.logit_diff[circuit, example],
                metrics.kl[circuit, example],
                metrics.accuracy[circuit, example],
            )
            assert [float(each) for each in found] == pytest.approx(
                expected, rel=1e-4, abs=1e-5
            )


def by_hand(logits, full, pair):
    """Return logit difference, divergence and accuracy of one example, in floats."""
    circuit, whole = logits.tolist(), full.tolist()
    answer, wrong = int(pair.answers), int(pair.wrong_answers)

    def log_total(values):
        return math.log(sum(math.exp(value) for value in values))

    divergence = sum(
        math.exp(w - log_total(whole))
        * ((w - log_total(whole)) - (c - log_total(circuit)))
        for w, c in zip(whole, circuit, strict=True)
    )
    correct = circuit.index(max(circuit)) == answer
    return [circuit[answer] - circuit[wrong], divergence, float(correct)]


def test_accuracy_counts_the_most_likely_token_of_all(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    best, worst = [], []
    for pair in pair_batches(tiny_pairs(4), 1):
        logits = model(pair.clean).logits[0, -1]
        best.append(logits.argmax().item())
        worst.append(logits.argmin().item())
    pairs = tiny_pairs(4).sort(pl.col("clean_ids").list.len(), maintain_order=True)
    # Only better than the wrong answer is not enough; the last pair is right at once.
    second = [
        model(torch.tensor([ids])).logits[0, -1].topk(2).indices[1].item()
        for ids in pairs["clean_ids"].to_list()
    ]
    answers = pl.Series("answer_ids", [[each] for each in [*second[:3], best[3]]])
    wrong = pl.Series("wrong_answer_ids", [[each] for each in worst])
    pairs = pairs.with_columns(answers, wrong)
    metrics = run_circuits(model, pair_batches(pairs, 2), torch.ones(1, N))
    assert metrics.accuracy.tolist() == [[0.0, 0.0, 0.0, 1.0]]
    assert (metrics.logit_diff > 0).all()


def test_equal_circuits_are_run_once_with_the_same_numbers(tiny_model, tiny_pairs):
    model, batches = tiny_model("qwen2"), pair_batches(tiny_pairs(3), 2)
    masks = random_masks(3)
    repeated = masks[[2, 0, 0, 1, 2]]
    alone = [run_circuits(model, batches, mask[None]) for mask in repeated]
    with counting(model) as passes:
        together = run_circuits(model, batches, repeated)
    assert passes.forwards == 3 * (3 + 2)
    for name, found in vars(together).items():
        expected = torch.cat([getattr(each, name) for each in alone])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_circuits_side_by_side_do_what_they_do_alone(
    tiny_model, tiny_pairs, family, ablation
):
    model, batches = tiny_model(family), pair_batches(tiny_pairs(7), 3)
    masks = torch.cat([random_masks(9), torch.zeros(1, N), torch.ones(1, N)])
    alone = run_circuits(model, batches, masks, ablation=ablation, rows=1)
    for rows in (None, 5, 8, 1000):
        beside = run_circuits(model, batches, masks, ablation=ablation, rows=rows)
        for name, found in vars(beside).items():
            expected = getattr(alone, name)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        # The ends, which faithfulness divides by, do not even differ in rounding.
        assert torch.equal(beside.logit_diff[-2:], alone.logit_diff[-2:])


def test_divergence_is_from_the_whole_model_to_the_circuit():
    full = torch.tensor([[0.75, 0.25]]).log()
    circuit = torch.tensor([[0.5, 0.5]]).log() + 3.0
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert answer_divergence(full, circuit).item() == pytest.approx(expected)
