import math

import polars as pl
import pytest
import reference
import torch
from polars.testing import assert_frame_equal

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.faithfulness import MEASURES, evaluate_circuits
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import (
    ACTIVATIONS,
    LOGITS,
    pair_batches,
    rows_per_pass,
)

NODES = node_names(2, 4)
N = len(NODES)
NUMBERS = [name for name, dtype in MEASURES.items() if dtype == pl.Float64]
PROPORTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def ranking(scores, **labels):
    return pl.DataFrame([{**labels, "scores": list(scores)}])


def assert_close(frame, expected):
    """Compare all measures but the lists, whose order is that of the batches."""
    settings = {"rel_tol": 1e-4, "abs_tol": 1e-6}
    assert_frame_equal(frame.select(NUMBERS), expected.select(NUMBERS), **settings)


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


def test_the_metrics_do_not_depend_on_batches(tiny_model, tiny_pairs):
    model, pairs = tiny_model("llama"), tiny_pairs(5)
    rankings = ranking([float(i % 3) for i in range(N)], task="t")
    frames = [
        evaluate_circuits(model, pair_batches(rows, size), rankings, (0.3, 0.7))
        for rows, size in ((pairs, 5), (pairs, 1), (pairs.reverse(), 2))
    ]
    for frame in frames[1:]:
        assert_close(frame, frames[0])


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
