"""How well does a circuit, alone, do what the whole model does?

The model runs on the clean prompts; every node outside the circuit writes what it wrote
on the corrupted prompts, every node inside writes what it computes from that. Input and
logits always belong to the circuit (MIB, arXiv 2504.13151, Section 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.batches import PairBatch
from circuit_transfer.interventions import answer_logits, mixing, run_captured
from circuit_transfer.job import progress
from circuit_transfer.nodes import count_kept

MEASURES = {
    "proportion": pl.Float64,
    "n_nodes": pl.Int64,
    "logit_diff": pl.Float64,
    "faithfulness": pl.Float64,
    "kl": pl.Float64,
    "accuracy": pl.Float64,
}


@dataclass(frozen=True)
class Metrics:
    """What circuits do on every example, each float32 `(circuits, examples)`.

    Attributes:
        logit_diff: answer minus wrong-answer logit (means, where there are several).
        kl: Kullback-Leibler divergence of the circuit's next-token distribution from
            the whole model's, over the whole vocabulary, in nats.
        accuracy: 1 where a right answer is the most likely token of all.
    """

    logit_diff: Tensor
    kl: Tensor
    accuracy: Tensor


def circuit_masks(scores: Tensor, proportions: Sequence[float]) -> Tensor:
    """Return the circuit of every size for every ranking, highest signed score first.

    Args:
        scores: `(rankings, n_nodes)`; equal scores rank in the order of the nodes.
        proportions: shares of the nodes to keep, rounded down to whole nodes.

    Returns:
        float32 `(rankings, sizes, n_nodes)` of ones and zeros.
    """
    n_nodes = scores.shape[1]
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    kept = torch.tensor([count_kept(p, n_nodes) for p in proportions])
    return (rank[:, None, :] < kept[None, :, None]).float()


@torch.no_grad()
def run_circuits(
    model: nn.Module, batches: Sequence[PairBatch], masks: Tensor
) -> Metrics:
    """Run circuits `(circuits, n_nodes)` and measure them on every example.

    The clean and the corrupted run are shared by all circuits, and circuits that are
    the same run once.
    """
    unique, which = masks.unique(dim=0, return_inverse=True)
    rows: list[list[Tensor]] = []
    for batch in progress(batches, len(batches), "batches of pairs"):
        full = answer_logits(model, batch.clean)
        _, corrupted = run_captured(model, batch.corrupted)
        # One circuit's logits at a time: with a large vocabulary they are large.
        rows.append(
            [
                _measure(batch, _run(model, batch, mask, full, corrupted), full)
                for mask in unique
            ]
        )
    per_circuit = zip(*rows, strict=True)
    stacked = torch.stack([torch.cat(parts, dim=1) for parts in per_circuit])
    return Metrics(*stacked[which].unbind(1))


def evaluate_circuits(
    model: nn.Module,
    batches: Sequence[PairBatch],
    rankings: pl.DataFrame,
    proportions: Sequence[float],
) -> pl.DataFrame:
    """Measure the circuits of every size that rankings of the nodes give.

    Faithfulness is `(m(circuit) - m(empty)) / (m(full) - m(empty))` of the mean logit
    difference m; it is null where full and empty circuit do equally well.

    Args:
        model: a causal language model.
        batches: the pairs to evaluate on.
        rankings: one row per ranking, its `scores` (a list of `n_nodes`) and labels.
        proportions: the sizes, as shares of all nodes.

    Returns:
        One row per ranking and size: the labels, `proportion`, `n_nodes`,
        `logit_diff`, `faithfulness`, `kl`, `accuracy`. A ranking that is not known
        (NaN, for want of usable pairs) has no rows, and none has without pairs.
    """
    known = pl.col("scores").list.eval(pl.element().is_finite().all()).list.first()
    rankings = rankings.filter(known)
    labels = rankings.drop("scores").with_row_index("ranking")
    if rankings.is_empty() or not batches:
        measured = pl.DataFrame(schema={"ranking": pl.UInt32} | MEASURES)
    else:
        scores = torch.tensor(rankings["scores"].to_list(), dtype=torch.float32)
        measured = _measure_rankings(model, batches, scores, proportions)
    return labels.join(measured, on="ranking", maintain_order="left_right").drop(
        "ranking"
    )


def _measure_rankings(
    model: nn.Module,
    batches: Sequence[PairBatch],
    scores: Tensor,
    proportions: Sequence[float],
) -> pl.DataFrame:
    rankings, n_nodes = scores.shape
    circuits = circuit_masks(scores, proportions).flatten(0, 1)
    ends = torch.stack([torch.zeros(n_nodes), torch.ones(n_nodes)])
    metrics = run_circuits(model, batches, torch.cat([circuits, ends]))
    logit_diff = _mean(metrics.logit_diff)
    empty, full = logit_diff[-2:]
    # Adding zero turns the -0.0 of an empty circuit into 0.0.
    faithfulness = (logit_diff[:-2] - empty) / (full - empty) + 0.0
    kept = [count_kept(p, n_nodes) for p in proportions]
    columns = {
        "ranking": [r for r in range(rankings) for _ in proportions],
        "proportion": list(proportions) * rankings,
        "n_nodes": kept * rankings,
        "logit_diff": logit_diff[:-2].tolist(),
        "faithfulness": [
            f if math.isfinite(f) else None for f in faithfulness.tolist()
        ],
        "kl": _mean(metrics.kl)[:-2].tolist(),
        "accuracy": _mean(metrics.accuracy)[:-2].tolist(),
    }
    return pl.DataFrame(columns, schema={"ranking": pl.UInt32} | MEASURES)


def _run(
    model: nn.Module,
    batch: PairBatch,
    mask: Tensor,
    full: Tensor,
    corrupted: Sequence[Tensor],
) -> Tensor:
    if mask.all():
        return full
    with mixing(model, mask.to(full.device), corrupted):
        return answer_logits(model, batch.clean)


def _measure(batch: PairBatch, logits: Tensor, full: Tensor) -> Tensor:
    """Return logit difference, divergence and accuracy, `(3, batch)`."""
    correct = batch.correct(logits).float()
    rows = [batch.logit_diff(logits), answer_divergence(full, logits), correct]
    return torch.stack(rows).cpu()


def answer_divergence(full: Tensor, logits: Tensor) -> Tensor:
    """Return KL(full || circuit) `(batch,)` in nats of logits `(batch, vocabulary)`."""
    log_full, log_circuit = full.log_softmax(-1), logits.log_softmax(-1)
    return (log_full.exp() * (log_full - log_circuit)).sum(-1)


def _mean(metric: Tensor) -> Tensor:
    # In float64, so that the order of the examples does not matter.
    return metric.double().mean(1)
