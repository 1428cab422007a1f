import math
from fractions import Fraction

import polars as pl
import pytest
import reference
import torch
from polars.testing import assert_frame_equal

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.faithfulness import MEASURES, evaluate_circuits
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import counting
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import (
    ACTIVATIONS,
    LOGITS,
    pair_batches,
    rows_per_pass,
)

FAMILIES = sorted(ARCHITECTURES)
NODES = node_names(2, 4)
N = len(NODES)
NUMBERS = [name for name, dtype in MEASURES.items() if dtype == pl.Float64]
PROPORTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def random_masks(n_masks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (n_masks, N), generator=generator).float()


def ranking(scores, **labels):
    return pl.DataFrame([{**labels, "scores": list(scores)}])


def assert_close(frame, expected):
    """Compare all measures but the lists, whose order is that of the batches."""
    settings = {"rel_tol": 1e-4, "abs_tol": 1e-6}
    assert_frame_equal(frame.select(NUMBERS), expected.select(NUMBERS), **settings)


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
    frame = evaluate_circuits(
        tiny_model("llama"),
        batches,
        rankings,
        (0.1, 0.5, 1),
        complement_of=pl.lit(True),
    )
    for column in ("faithfulness", "complement_faithfulness"):
        assert frame[column].to_list() == [None] * 3
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
    with counting(model) as passes:
        together = run_circuits(model, batches, repeated)
    assert passes.forwards == 3 * (3 + 2)
    for name, found in vars(together).items():
        expected = torch.cat([getattr(each, name) for each in alone])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_metrics_do_not_depend_on_batches(tiny_model, tiny_pairs):
    model, pairs = tiny_model("llama"), tiny_pairs(5)
    rankings = ranking([float(i % 3) for i in range(N)], task="t")
    frames = [
        evaluate_circuits(model, pair_batches(rows, size), rankings, (0.3, 0.7))
        for rows, size in ((pairs, 5), (pairs, 1), (pairs.reverse(), 2))
    ]
    for frame in frames[1:]:
        assert_close(frame, frames[0])


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


def test_a_pass_is_bounded_by_activations_and_by_logits(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    short, long = pair_batches(tiny_pairs(2), 1)
    # Four sites of width 32.
    assert rows_per_pass(model, short) == ACTIVATIONS["cpu"] // (4 * 32 * 5)
    assert rows_per_pass(model, long) == ACTIVATIONS["cpu"] // (4 * 32 * 7)
    model.config.vocab_size = LOGITS // 3
    assert rows_per_pass(model, short) == 3
    model.config.vocab_size = 2 * LOGITS
    frame = evaluate_circuits(model, [short], ranking(range(N), task="t"), (0.5,))
    assert len(frame) == 1


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_complement_is_all_other_nodes(tiny_model, tiny_pairs, family, ablation):
    model, batches = tiny_model(family), pair_batches(tiny_pairs(5), 2)
    scores = torch.randn(N, generator=torch.Generator().manual_seed(1))
    proportions = (0.0, 0.3, 0.8, 1.0)
    frame = evaluate_circuits(
        model,
        batches,
        ranking(scores.tolist(), task="t"),
        proportions,
        ablation=ablation,
        complement_of=pl.col("task") == "t",
    )
    # All but the best of a ranking are the best of the opposite one.
    opposite = evaluate_circuits(
        model,
        batches,
        ranking((-scores).tolist(), task="t"),
        [1 - each for each in proportions],
        ablation=ablation,
    )
    found = frame["complement_faithfulness"].to_list()
    assert found == pytest.approx(opposite["faithfulness"].to_list(), abs=1e-6)
    # Without the empty circuit all is left, without the full one nothing.
    assert (found[0], found[-1]) == (1.0, 0.0)
    assert opposite["complement_faithfulness"].to_list() == [None] * 4


def test_complements_are_measured_where_they_are_asked_for(tiny_model, tiny_pairs):
    model, batches = tiny_model("llama"), pair_batches(tiny_pairs(3), 2)
    rankings = pl.concat(
        [
            ranking([1.0] * N, control="none"),
            ranking([math.nan] * N, control="none"),
            ranking([2.0] * N, control="other"),
            ranking([3.0] * N, control=None),
        ],
        how="vertical_relaxed",
    )
    asked = pl.col("control") == "none"
    frame = evaluate_circuits(model, batches, rankings, (0.2, 0.5), complement_of=asked)
    known = frame["complement_faithfulness"].is_not_null().to_list()
    assert known == [True] * 2 + [False] * 4
    rest = frame.filter(~asked.fill_null(False))
    plain = evaluate_circuits(model, batches, rankings[2:], (0.2, 0.5))
    assert_close(rest, plain)


def test_the_lists_hold_every_example_and_average_to_the_columns(
    tiny_model, tiny_pairs
):
    model, batches = tiny_model("gpt2"), pair_batches(tiny_pairs(5), 2)
    rankings = pl.concat(
        [ranking(torch.randn(N).tolist(), seed=seed) for seed in range(3)]
    )
    frame = evaluate_circuits(model, batches, rankings, (0.0, 0.4, 1.0))
    means = frame.select(pl.col("logit_diffs").list.mean())["logit_diffs"]
    assert means.to_list() == pytest.approx(frame["logit_diff"].to_list(), abs=1e-6)
    whole = []
    for batch in batches:
        logits, _ = reference.run(model, batch.clean)
        whole += reference.logit_diff(
            logits, batch.answers, batch.wrong_answers
        ).tolist()
    for found in frame["full_logit_diffs"].to_list():
        assert found == pytest.approx(whole, rel=1e-5)
    empty = frame.filter(n_nodes=0)["logit_diffs"].to_list()
    assert frame["empty_logit_diffs"].to_list() == 3 * empty
    full = frame.filter(n_nodes=N)["logit_diffs"].to_list()
    assert frame["full_logit_diffs"].to_list() == 3 * full
    by_hand = [
        (sum(c) - sum(e)) / (sum(f) - sum(e))
        for c, e, f in frame.select(
            "logit_diffs", "empty_logit_diffs", "full_logit_diffs"
        ).rows()
    ]
    assert frame["faithfulness"].to_list() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("right", [0, 3, 7])
def test_agreement_is_with_the_whole_model_where_it_is_right_and_wrong(
    tiny_model, tiny_pairs, right
):
    model = tiny_model("llama")
    alone = pair_batches(tiny_pairs(7), 1)
    best = [model(pair.clean).logits[0, -1].argmax().item() for pair in alone]
    lengths = pl.col("clean_ids").list.len()
    # The first have the whole model's token as their answer, the rest another one.
    answers = [[token if at < right else 3] for at, token in enumerate(best)]
    assert 3 not in best
    pairs = (
        tiny_pairs(7)
        .sort(lengths, maintain_order=True)
        .with_columns(answer_ids=pl.Series(answers))
    )
    rankings = ranking(range(N, 0, -1), task="t")
    frame = evaluate_circuits(model, pair_batches(pairs, 3), rankings, (0.9, 1.0))
    agrees = []
    for pair, token in zip(alone, best, strict=True):
        _, corrupted = reference.run(model, pair.corrupted)
        edit = reference.replaced({NODES[-1]: corrupted[NODES[-1]]})
        logits, _ = reference.run(model, pair.clean, edit=edit)
        agrees.append(logits[0, -1].argmax().item() == token)
    assert 0 < sum(agrees) < 7
    for name, part in (("right", agrees[:right]), ("wrong", agrees[right:])):
        expected = sum(part) / len(part) if part else None
        assert frame[f"agreement_{name}"][0] == (
            None if expected is None else pytest.approx(expected)
        )
        assert frame[f"agreement_{name}"][1] == (1.0 if part else None)
