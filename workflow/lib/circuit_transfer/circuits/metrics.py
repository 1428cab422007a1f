"""What is measured of a circuit: metrics of every example, and their means.

All come from the next-token logits of the circuit and of the full model at the answer
position; nothing here depends on what a circuit consists of.
"""

import math
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from circuit_transfer.prompts.batches import PairBatch

METRIC_COLUMNS = {
    "logit_diff": pl.Float64,
    "faithfulness": pl.Float64,
    "kl": pl.Float64,
    "accuracy": pl.Float64,
    "agreement_right": pl.Float64,
    "agreement_wrong": pl.Float64,
    "complement_faithfulness": pl.Float64,
    "logit_diffs": pl.List(pl.Float32),
    "empty_logit_diffs": pl.List(pl.Float32),
    "full_logit_diffs": pl.List(pl.Float32),
}


@dataclass(frozen=True)
class Metrics:
    """The metrics of circuits on every example, each float32 `(circuits, examples)`.

    Attributes:
        logit_diff: answer minus wrong-answer logit (means, where there are several).
        kl: Kullback-Leibler divergence of the circuit's next-token distribution from
            the full model's, over the whole vocabulary, in nats.
        accuracy: 1 where a right answer is the most likely token of all.
        agreement: 1 where the most likely token is the full model's.
    """

    logit_diff: Tensor
    kl: Tensor
    accuracy: Tensor
    agreement: Tensor


def example_metrics(batch: PairBatch, logits: Tensor, full: Tensor) -> Tensor:
    """Return the metrics of circuits run side by side, float32 `(4, circuits, batch)`.

    Args:
        batch: the pairs, repeated for every circuit.
        logits: of the circuits, `(circuits * batch, vocabulary)`.
        full: of the full model, on every pair once.

    Returns:
        The metrics in the order of `Metrics`, on the host.
    """
    by_circuit = logits.unflatten(0, (-1, len(full)))
    agreement = by_circuit.argmax(-1) == full.argmax(-1)
    rows = [
        batch.logit_diff(logits),
        answer_divergence(full, by_circuit).flatten(),
        batch.correct(logits).float(),
        agreement.float().flatten(),
    ]
    return torch.stack(rows).unflatten(1, by_circuit.shape[:2]).cpu()


def answer_divergence(full: Tensor, logits: Tensor) -> Tensor:
    """Return KL(full || circuit) in nats of logits `(..., batch, vocabulary)`."""
    log_full, log_circuit = full.log_softmax(-1), logits.log_softmax(-1)
    return (log_full.exp() * (log_full - log_circuit)).sum(-1)


def unfaithfulness(
    batch: PairBatch, full: Tensor, empty: Tensor, logits: Tensor
) -> Tensor:
    """Return how far circuits are from full faithfulness on a batch, `|1 - f|`.

    With faithfulness f as in `metric_columns`, but on the batch.

    Args:
        batch: the pairs.
        full: logits of the full model, `(batch, vocabulary)`.
        empty: logits of the empty circuit; a single row stands for all pairs.
        logits: of the circuits, `(..., batch, vocabulary)`.

    Returns:
        `(...)`, one number for each circuit.
    """
    whole, nothing = (
        batch.logit_diff(each.expand_as(full)).mean() for each in (full, empty)
    )
    every = batch.repeat(logits[..., 0, 0].numel())
    diffs = every.logit_diff(logits.flatten(0, -2)).view(logits.shape[:-1])
    return (1 - (diffs.mean(-1) - nothing) / (whole - nothing)).abs()


def metric_columns(metrics: Metrics, with_complement: Tensor) -> dict[str, list]:
    """Return the means over the examples, a row per circuit; see `METRIC_COLUMNS`.

    Faithfulness is `(m(circuit) - m(empty)) / (m(full) - m(empty))` of the mean logit
    difference m (MIB, arXiv 2504.13151, Section 3).

    Args:
        metrics: of the circuits, then of the complements of some, then of the empty
            and of the full circuit.
        with_complement: which circuits have a complement, bool `(circuits,)`.
    """
    n_circuits = len(with_complement)
    logit_diff = _mean(metrics.logit_diff)
    empty, full = logit_diff[-2:]
    # Adding zero turns the -0.0 of an empty circuit into 0.0.
    faithfulness = (logit_diff - empty) / (full - empty) + 0.0
    complement = torch.full((n_circuits,), math.nan, dtype=torch.float64)
    complement[with_complement] = faithfulness[n_circuits:-2]
    right = metrics.accuracy[-1].bool()
    agreement = metrics.agreement[:n_circuits]
    diffs = metrics.logit_diff.tolist()
    return {
        "logit_diff": logit_diff[:n_circuits].tolist(),
        "faithfulness": _finite(faithfulness[:n_circuits]),
        "kl": _mean(metrics.kl)[:n_circuits].tolist(),
        "accuracy": _mean(metrics.accuracy)[:n_circuits].tolist(),
        "agreement_right": _finite(_mean(agreement[:, right])),
        "agreement_wrong": _finite(_mean(agreement[:, ~right])),
        "complement_faithfulness": _finite(complement),
        "logit_diffs": diffs[:n_circuits],
        "empty_logit_diffs": [diffs[-2]] * n_circuits,
        "full_logit_diffs": [diffs[-1]] * n_circuits,
    }


def complement_accuracy(
    metrics: Metrics, with_complement: Tensor
) -> list[float | None]:
    """Return the accuracy of every circuit's complement, None without one.

    Args:
        metrics: see `metric_columns`.
        with_complement: see `metric_columns`.
    """
    found = torch.full((len(with_complement),), math.nan, dtype=torch.float64)
    found[with_complement] = _mean(metrics.accuracy)[len(with_complement) : -2]
    return _finite(found)


def _mean(metric: Tensor) -> Tensor:
    # In float64, so that the order of the examples does not matter.
    return metric.double().mean(1)


def _finite(values: Tensor) -> list[float | None]:
    """Return the values, with None in place of those that are not finite."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
