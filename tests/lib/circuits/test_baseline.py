"""What whole models do on pairs, beside plain passes and closed forms."""

import numpy as np
import polars as pl
import pytest
import torch

from circuit_transfer.circuits.baseline import (
    MEANS,
    SHARES,
    baseline_measures,
    measure_baseline,
)
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.prompts.batches import pair_batches


def plain_measures(model, pairs):
    """Return the measures of pairs by plain passes, one prompt at a time."""
    correct, clean, corrupted = [], [], []
    for row in pairs.to_dicts():
        runs = [model(torch.tensor([row[f"{k}_ids"]])) for k in ("clean", "corrupted")]
        logits, other = (run.logits[0, -1].double() for run in runs)
        right, wrong = row["answer_ids"], row["wrong_answer_ids"]
        correct.append(int(logits.argmax()) in right)
        clean.append((logits[right].mean() - logits[wrong].mean()).item())
        corrupted.append((other[right].mean() - other[wrong].mean()).item())
    return {
        "accuracy": np.mean(correct),
        "right_above_wrong": np.mean(np.array(clean) > 0),
        "logit_diff": np.mean(clean),
        "corrupted_logit_diff": np.mean(corrupted),
        "corruption_effect": np.mean(clean) - np.mean(corrupted),
    }


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_a_baseline_is_that_of_plain_passes(tiny_model, tiny_pairs, family):
    model = tiny_model(family).requires_grad_(False)
    pairs = tiny_pairs(9)
    # Some rows are answered right, and some answers are several tokens.
    clean = [torch.tensor([ids]) for ids in pairs["clean_ids"]]
    best = [model(ids).logits[0, -1].argmax() for ids in clean]
    answers = [
        [int(token), 7] if number % 3 else ids
        for number, (token, ids) in enumerate(
            zip(best, pairs["answer_ids"].to_list(), strict=True)
        )
    ]
    pairs = pairs.with_columns(answer_ids=pl.Series(answers))
    found = measure_baseline(model, pair_batches(pairs, 2))
    expected = plain_measures(model, pairs)
    assert 0 < expected["accuracy"] < 1
    assert (found["pairs"], found["distinct"]) == (9, 9)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]


def test_intervals_of_means_narrow_with_the_distinct_pairs():
    # Of n values of deviation 1 the standard error is 1 / sqrt(n).
    values = np.tile([-1.0, 1.0], 200)
    once = baseline_measures(values > 0, values, -values, range(400))
    assert once["logit_diff_high"] == pytest.approx(1.96 / 20, rel=0.1)
    # The difference of clean and corrupted is paired: it has twice the deviation.
    assert once["corruption_effect_high"] == pytest.approx(2 * 1.96 / 20, rel=0.1)
    # Four copies of each pair are no more evidence than one.
    copies, pairs = np.repeat(values[:100], 4), np.repeat(np.arange(100), 4)
    repeated = baseline_measures(values > 0, copies, -copies, pairs)
    assert (repeated["pairs"], repeated["distinct"]) == (400, 100)
    assert repeated["logit_diff_high"] == pytest.approx(1.96 / 10, rel=0.1)
    widths = [each["accuracy_high"] - each["accuracy_low"] for each in (once, repeated)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.02)


def test_an_answer_that_is_level_with_the_wrong_one_is_not_above_it():
    found = baseline_measures([True, False], [0.0, 1.0], [0.0, 0.0], [0, 1])
    assert (found["accuracy"], found["right_above_wrong"]) == (0.5, 0.5)


def test_of_one_pair_no_interval_of_means_is_known():
    found = baseline_measures([True, True], [1.0, 3.0], [0.5, 0.5], [0, 0])
    assert (found["pairs"], found["distinct"]) == (2, 1)
    assert found["logit_diff"] == 2.0
    for name in MEANS:
        assert found[f"{name}_low"] is found[f"{name}_high"] is None
    assert 0 < found["accuracy_low"] < 0.5 < found["accuracy_high"] == 1.0


def test_of_no_pair_nothing_is_known(tiny_model):
    found = measure_baseline(tiny_model("llama"), [])
    assert found.pop("pairs") == found.pop("distinct") == 0
    assert len(found) == 3 * len(SHARES + MEANS)
    assert set(found.values()) == {None}


def test_logits_that_are_not_finite_are_not_known():
    found = baseline_measures([False, False], [np.nan, 1.0], [0.0, 0.0], [0, 1])
    assert found["logit_diff"] is None and found["corruption_effect_low"] is None
    assert found["right_above_wrong"] == 0.5
