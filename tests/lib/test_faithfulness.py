import math
from fractions import Fraction

import polars as pl
import pytest
import reference
import torch

from circuit_transfer.architectures import ARCHITECTURES
from circuit_transfer.batches import pair_batches
from circuit_transfer.faithfulness import (
    MEASURES,
    answer_divergence,
    circuit_masks,
    evaluate_circuits,
    run_circuits,
)
from circuit_transfer.nodes import node_names

FAMILIES = sorted(ARCHITECTURES)
NODES = node_names(2, 4)
N = len(NODES)
PROPORTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def random_masks(n_masks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (n_masks, N), generator=generator).float()


def ranking(scores, **labels):
    return pl.DataFrame([{**labels, "scores": list(scores)}])


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


def test_divergence_is_from_the_whole_model_to_the_circuit():
    full = torch.tensor([[0.75, 0.25]]).log()
    circuit = torch.tensor([[0.5, 0.5]]).log() + 3.0
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert answer_divergence(full, circuit).item() == pytest.approx(expected)


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


@pytest.mark.parametrize("n_nodes", [10, 20, 54, 360, 528, 1056])
def test_circuits_have_the_sizes_of_the_benchmark(n_nodes):
    scores = torch.randn(2, n_nodes, generator=torch.Generator().manual_seed(0))
    masks = circuit_masks(scores, PROPORTIONS)
    assert masks.shape == (2, len(PROPORTIONS), n_nodes)
    expected = [int(Fraction(str(p)) * n_nodes) for p in PROPORTIONS]
    for ranking_masks, ranked in zip(masks, scores, strict=True):
        assert ranking_masks.sum(-1).tolist() == expected
        for mask, size in zip(ranking_masks, expected, strict=True):
            best = ranked.sort(descending=True).indices[:size]
            assert set(mask.nonzero()[:, 0].tolist()) == set(best.tolist())


def test_ties_rank_in_the_order_of_the_nodes_and_signs_count():
    masks = circuit_masks(torch.tensor([[1.0, 2.0, 1.0, -5.0, 1.0]]), (0.2, 0.4, 0.8))
    assert masks[0].tolist() == [
        [0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1],
    ]
    # Long enough for an unstable sort to show.
    constant = circuit_masks(torch.zeros(1, 1056), (0.5,))
    assert constant[0, 0].nonzero()[:, 0].tolist() == list(range(528))


def test_faithfulness_is_the_ratio_of_mean_differences(tiny_model, tiny_pairs):
    model = tiny_model("gpt2")
    batches = pair_batches(tiny_pairs(5), 2)
    scores = torch.randn(N, generator=torch.Generator().manual_seed(1))
    proportions = (0.05, 0.3, 0.6, 1.0)
    frame = evaluate_circuits(
        model, batches, ranking(scores.tolist(), task="t"), proportions
    )
    masks = circuit_masks(scores[None], proportions)[0]
    ends = torch.stack([torch.zeros(N), torch.ones(N)])
    metrics = run_circuits(model, batches, torch.cat([ends, masks]))
    empty, full, *sizes = metrics.logit_diff.mean(1).tolist()
    expected = [(each - empty) / (full - empty) for each in sizes]
    assert frame.columns == ["task", *MEASURES]
    assert frame["faithfulness"].to_list() == pytest.approx(expected, rel=1e-5)
    assert frame["logit_diff"].to_list() == pytest.approx(sizes, rel=1e-5)
    assert frame["kl"].to_list() == pytest.approx(metrics.kl.mean(1)[2:].tolist())
    assert frame["faithfulness"][0] == 0.0
    assert math.copysign(1, frame["faithfulness"][0]) == 1
    assert frame["faithfulness"][-1] == 1.0
    assert frame["n_nodes"].to_list() == [0, 3, 6, 10]
    assert frame["proportion"].to_list() == list(proportions)


def test_faithfulness_is_null_where_full_and_empty_do_the_same(tiny_model, tiny_pairs):
    pairs = tiny_pairs(2).with_columns(corrupted_ids="clean_ids")
    batches = pair_batches(pairs, 2)
    rankings = ranking(range(N), task="t")
    frame = evaluate_circuits(tiny_model("llama"), batches, rankings, (0.1, 0.5, 1))
    assert frame["faithfulness"].to_list() == [None] * 3
    assert frame["logit_diff"].is_finite().all()


@pytest.mark.parametrize("case", ["no pairs", "unknown ranking", "no ranking"])
def test_what_cannot_be_measured_has_columns_and_no_rows(tiny_model, tiny_pairs, case):
    model, pairs = tiny_model("llama"), tiny_pairs(2)
    scores = [math.nan] * N if case == "unknown ranking" else [1.0] * N
    rankings = ranking(scores, task="t", seed=1)
    if case == "no ranking":
        rankings = rankings.clear()
    batches = [] if case == "no pairs" else pair_batches(pairs, 2)
    frame = evaluate_circuits(model, batches, rankings, (0.5, 1.0))
    labels = {"task": pl.String, "seed": pl.Int64}
    assert frame.schema == labels | MEASURES
    assert frame.is_empty()


def test_an_unknown_ranking_does_not_disturb_the_others(tiny_model, tiny_pairs):
    model, batches = tiny_model("llama"), pair_batches(tiny_pairs(3), 2)
    known = pl.concat(
        [ranking(range(N), control="a"), ranking(range(N, 0, -1), control="b")]
    ).with_columns(pl.col("scores").cast(pl.List(pl.Float64)))
    unknown = ranking([math.nan] + [0.0] * (N - 1), control="unknown")
    both = pl.concat([known[:1], unknown, known[1:]])
    expected = evaluate_circuits(model, batches, known, (0.2, 1.0))
    found = evaluate_circuits(model, batches, both, (0.2, 1.0))
    assert found.equals(expected)
    assert found["control"].to_list() == ["a", "a", "b", "b"]


def test_equal_circuits_are_run_once_with_the_same_numbers(tiny_model, tiny_pairs):
    model, batches = tiny_model("qwen2"), pair_batches(tiny_pairs(3), 2)
    masks = random_masks(3)
    repeated = masks[[2, 0, 0, 1, 2]]
    alone = [run_circuits(model, batches, mask[None]) for mask in repeated]
    runs = []
    handle = model.register_forward_hook(lambda *_: runs.append(1))
    together = run_circuits(model, batches, repeated)
    handle.remove()
    assert len(runs) == len(batches) * (3 + 2)
    for name in ("logit_diff", "kl", "accuracy"):
        expected = torch.cat([getattr(each, name) for each in alone])
        assert torch.equal(getattr(together, name), expected)


def test_the_metrics_do_not_depend_on_batches(tiny_model, tiny_pairs):
    model, pairs = tiny_model("llama"), tiny_pairs(5)
    rankings = ranking([float(i % 3) for i in range(N)], task="t")
    frames = [
        evaluate_circuits(model, pair_batches(rows, size), rankings, (0.3, 0.7))
        for rows, size in ((pairs, 5), (pairs, 1), (pairs.reverse(), 2))
    ]
    for column in ("logit_diff", "faithfulness", "kl", "accuracy"):
        for frame in frames[1:]:
            expected = pytest.approx(frames[0][column].to_list(), rel=1e-4, abs=1e-6)
            assert frame[column].to_list() == expected
