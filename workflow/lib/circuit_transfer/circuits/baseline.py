"""What the whole model does on a task, before anything is said about its circuits."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from circuit_transfer.interventions import answer_logits
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import PairBatch, prompt_numbers
from circuit_transfer.statistics import (
    RESAMPLES,
    generator,
    percentile_interval,
    resampling_weights,
    wilson_interval,
)

SHARES = ("accuracy", "right_above_wrong")
MEANS = ("logit_diff", "corrupted_logit_diff", "corruption_effect")


@torch.inference_mode()
def measure_baseline(model: nn.Module, batches: Sequence[PairBatch]) -> dict[str, Any]:
    """Run a model on clean and corrupted prompts, and measure its answers.

    Args:
        model: a causal language model.
        batches: the pairs to measure; there may be none.

    Returns:
        The measures of `baseline_measures`.
    """
    correct, clean, corrupted = [], [], []
    for batch in progress(batches, len(batches), "batch"):
        logits = answer_logits(model, batch.clean)
        correct += batch.correct(logits).tolist()
        clean += batch.logit_diff(logits).tolist()
        corrupted += batch.logit_diff(answer_logits(model, batch.corrupted)).tolist()
    return baseline_measures(correct, clean, corrupted, prompt_numbers(batches))


def baseline_measures(
    correct: Sequence[bool],
    clean: Sequence[float],
    corrupted: Sequence[float],
    pairs: Sequence[int],
) -> dict[str, Any]:
    """Return the shares and means over examples, with their 95 % intervals.

    Args:
        correct: of every example, whether its most likely token is a right answer.
        clean: its logit difference of right and wrong answer.
        corrupted: that of the same answers after the corrupted prompt.
        pairs: the number of its pair of prompts, see `batches.prompt_numbers`.

    Returns:
        `pairs` (examples), `distinct` (pairs of prompts without repetition), and with
        `_low` and `_high` added for the interval: `accuracy` over the vocabulary;
        `right_above_wrong`, the share whose logit difference is positive; `logit_diff`,
        `corrupted_logit_diff` and their difference, `corruption_effect`. Intervals of
        shares are Wilson's, of as many cases as there are distinct pairs; those of
        means are bootstrap intervals over distinct pairs. What is not known is None:
        everything of no examples, and a bootstrap interval of one distinct pair.
    """
    n_distinct = len(np.unique(pairs))
    measures = {"pairs": len(pairs), "distinct": n_distinct}
    if not n_distinct:
        names = [name + end for name in SHARES + MEANS for end in ("", "_low", "_high")]
        return measures | dict.fromkeys(names)
    clean, corrupted = np.array(clean), np.array(corrupted)
    for name, values in zip(SHARES, (correct, clean > 0), strict=True):
        share = float(np.mean(values))
        measures |= _with_interval(name, share, wilson_interval(share, n_distinct))
    weights = resampling_weights(np.array(pairs), RESAMPLES, generator("baseline"))
    for name, values in zip(MEANS, (clean, corrupted, clean - corrupted), strict=True):
        interval = percentile_interval(weights @ values)
        measures |= _with_interval(name, float(values.mean()), interval)
    return measures


def _with_interval(name: str, value: float, interval: tuple) -> dict[str, float | None]:
    low, high = map(float, interval)
    named = {name: value, f"{name}_low": low, f"{name}_high": high}
    return {key: each if math.isfinite(each) else None for key, each in named.items()}
