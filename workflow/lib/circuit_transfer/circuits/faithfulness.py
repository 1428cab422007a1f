"""How well does a circuit, alone, do what the whole model does?

The model runs on the clean prompts; every node outside the circuit writes what its
ablation says (what it wrote on the corrupted prompts, zero, or a mean), every node
inside writes what it computes from that. Input and logits always belong to the circuit
(MIB, arXiv 2504.13151, Section 3).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.passes import measured
from circuit_transfer.interventions import (
    answer_logits,
    captured_stream,
    running_circuits,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.jobs.job import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.architectures import layer_modules
from circuit_transfer.models.nodes import circuit_size
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass

log = logging.getLogger(__name__)

MEASURES = {
    "proportion": pl.Float64,
    "n_nodes": pl.Int64,
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
    """What circuits do on every example, each float32 `(circuits, examples)`.

    Attributes:
        logit_diff: answer minus wrong-answer logit (means, where there are several).
        kl: Kullback-Leibler divergence of the circuit's next-token distribution from
            the whole model's, over the whole vocabulary, in nats.
        accuracy: 1 where a right answer is the most likely token of all.
        agreement: 1 where the most likely token is the whole model's.
    """

    logit_diff: Tensor
    kl: Tensor
    accuracy: Tensor
    agreement: Tensor


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
    kept = torch.tensor([circuit_size(p, n_nodes) for p in proportions])
    return (rank[:, None, :] < kept[None, :, None]).float()


@torch.inference_mode()
def run_circuits(
    model: nn.Module,
    batches: Sequence[PairBatch],
    masks: Tensor,
    *,
    ablation: str = "counterfactual",
    rows: int | None = None,
    resume: Resume = NO_RESUME,
) -> Metrics:
    """Run circuits and measure them on every example.

    The clean and the ablated run are shared by all circuits, and circuits that are the
    same run once.

    Args:
        model: a causal language model.
        batches: the pairs; examples keep the order that they have here.
        masks: the circuits, `(circuits, n_nodes)` of ones and zeros.
        ablation: what nodes outside a circuit write, see `ablations`.
        rows: prompts in one forward pass: as many circuits as fit run together, and at
            least one; by default what suits model and device. Changes no result by
            more than rounding.
        resume: keeps the metrics of what has been run.
    """
    unique, which = masks.unique(dim=0, return_inverse=True)
    ablated = ablation_of(model, batches, ablation)
    names = [f"{ablation}/batch-{number}" for number in range(len(batches))]
    parts = [
        _run_batch(model, batch, unique, ablated, rows, resume, name)
        for batch, name in progress(
            zip(batches, names, strict=True), len(batches), "batches of pairs"
        )
    ]
    return Metrics(*torch.cat(parts, dim=2)[:, which])


def evaluate_circuits(
    model: nn.Module,
    batches: Sequence[PairBatch],
    rankings: pl.DataFrame,
    proportions: Sequence[float],
    *,
    ablation: str = "counterfactual",
    complement_of: pl.Expr | None = None,
    rows: int | None = None,
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Measure the circuits of every size that rankings of the nodes give.

    Faithfulness is `(m(circuit) - m(empty)) / (m(full) - m(empty))` of the mean logit
    difference m; it is null where full and empty circuit do equally well.

    Args:
        model: a causal language model.
        batches: the pairs to evaluate on.
        rankings: one row per ranking, its `scores` (a list of `n_nodes`) and labels.
        proportions: the sizes, as shares of all nodes.
        ablation: what nodes outside a circuit write, see `ablations`.
        complement_of: which rankings' circuits have their complements measured too, a
            condition on the labels; none by default.
        rows: as in `run_circuits`.
        resume: as in `run_circuits`.

    Returns:
        One row per ranking and size: the labels and `MEASURES`, whose
        `agreement_right` and `agreement_wrong` are the shares of examples with the
        whole model's most likely token among those that the whole model gets right and
        wrong (null where there is none), `complement_faithfulness` that of all other
        nodes (null where it was not asked for), and the lists hold one logit difference
        per example, in the order of the batches. A ranking that is not known (NaN, for
        want of usable pairs) has no rows, and none has without pairs.
    """
    known = pl.col("scores").list.eval(pl.element().is_finite().all()).list.first()
    rankings = rankings.filter(known)
    labels = rankings.drop("scores").with_row_index("ranking")
    if rankings.is_empty() or not batches:
        found = pl.DataFrame(schema={"ranking": pl.UInt32} | MEASURES)
    else:
        scores = torch.tensor(rankings["scores"].to_list(), dtype=torch.float32)
        asked = _asked(rankings, complement_of)
        settings = {"ablation": ablation, "rows": rows, "resume": resume}
        found = _measure_rankings(
            model, batches, scores, asked, proportions, **settings
        )
    return labels.join(found, on="ranking", maintain_order="left_right").drop("ranking")


def evaluate_ablations(
    model: nn.Module,
    batches: Sequence[PairBatch],
    rankings: pl.DataFrame,
    proportions: Sequence[float],
    *,
    ablations: Sequence[str],
    model_name: str,
    complement_of: pl.Expr | None = None,
    resume: Resume = NO_RESUME,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Measure circuits under every ablation, and what that costs.

    Arguments as in `evaluate_circuits`. If the batches are cut in another way than when
    a state was kept, it is not used.

    Returns:
        Its frame with the label `ablation`, one ablation after the other, and the costs
        of each, see `passes.measured`.
    """
    resume.expect(batches=[len(batch) for batch in batches])
    frames, costs = [], []
    for kind in ablations:
        labelled = rankings.with_columns(ablation=pl.lit(kind))
        with measured(kind, model_name, model, resume) as cost:
            frame = evaluate_circuits(
                model,
                batches,
                labelled,
                proportions,
                ablation=kind,
                complement_of=complement_of,
                resume=resume,
            )
        frames.append(frame)
        costs.append(cost)
    return pl.concat(frames), costs


def _measure_rankings(
    model: nn.Module,
    batches: Sequence[PairBatch],
    scores: Tensor,
    asked: Tensor,
    proportions: Sequence[float],
    **settings: Any,
) -> pl.DataFrame:
    """Run the circuits of all rankings and sizes, and the complements asked for."""
    rankings, n_nodes = scores.shape
    circuits = circuit_masks(scores, proportions).flatten(0, 1)
    asked = asked.repeat_interleave(len(proportions))
    ends = torch.stack([torch.zeros(n_nodes), torch.ones(n_nodes)])
    masks = torch.cat([circuits, 1 - circuits[asked], ends])
    metrics = run_circuits(model, batches, masks, **settings)
    kept = [circuit_size(p, n_nodes) for p in proportions]
    columns = {
        "ranking": [r for r in range(rankings) for _ in proportions],
        "proportion": list(proportions) * rankings,
        "n_nodes": kept * rankings,
        **_measures(metrics, asked),
    }
    return pl.DataFrame(columns, schema={"ranking": pl.UInt32} | MEASURES)


def _asked(rankings: pl.DataFrame, condition: pl.Expr | None) -> Tensor:
    """Return for which rankings a condition holds, `(rankings,)`."""
    asked = pl.lit(False) if condition is None else condition.fill_null(False)
    return torch.tensor(rankings.with_columns(asked=asked)["asked"].to_list())


def _measures(metrics: Metrics, asked: Tensor) -> dict[str, list]:
    """Return the measures of circuits from their metrics.

    The metrics are those of the circuits, then of the complements of those that `asked`
    `(circuits,)` marks, then of the empty and the full circuit.
    """
    n_circuits = len(asked)
    logit_diff = _mean(metrics.logit_diff)
    empty, full = logit_diff[-2:]
    # Adding zero turns the -0.0 of an empty circuit into 0.0.
    faithfulness = (logit_diff - empty) / (full - empty) + 0.0
    complement = torch.full((n_circuits,), math.nan, dtype=torch.float64)
    complement[asked] = faithfulness[n_circuits:-2]
    right = metrics.accuracy[-1].bool()
    agreement = metrics.agreement[:n_circuits]
    diffs = metrics.logit_diff.tolist()
    return {
        "logit_diff": logit_diff[:n_circuits].tolist(),
        "faithfulness": _known(faithfulness[:n_circuits]),
        "kl": _mean(metrics.kl)[:n_circuits].tolist(),
        "accuracy": _mean(metrics.accuracy)[:n_circuits].tolist(),
        "agreement_right": _known(_mean(agreement[:, right])),
        "agreement_wrong": _known(_mean(agreement[:, ~right])),
        "complement_faithfulness": _known(complement),
        "logit_diffs": diffs[:n_circuits],
        "empty_logit_diffs": [diffs[-2]] * n_circuits,
        "full_logit_diffs": [diffs[-1]] * n_circuits,
    }


def _run_batch(
    model: nn.Module,
    batch: PairBatch,
    masks: Tensor,
    ablated: Ablation,
    rows: int | None,
    resume: Resume,
    name: str,
) -> Tensor:
    """Return the metrics of circuits on a batch, `(4, circuits, batch)`.

    The circuits are different and sorted: the empty one first, the full one last.
    """
    found: list[Tensor] = []

    def joined() -> Tensor:
        # What was kept is on the host, what is run may be on a GPU.
        return torch.cat([each.to(found[-1].device) for each in found], dim=1)

    state = resume.restore(name, lambda: State({"metrics": joined()}, {}))
    done = 0
    if state is not None:
        found.append(state.tensors["metrics"])
        done = found[0].shape[1]
        log.info("%s: circuit %d of %d", name, done, len(masks))
    if done < len(masks):
        groups = _run_groups(model, batch, masks, ablated, rows, resume, done)
        for metrics in groups:
            found.append(metrics)
            resume.save()
    return joined().cpu()


def _run_groups(
    model: nn.Module,
    batch: PairBatch,
    masks: Tensor,
    ablated: Ablation,
    rows: int | None,
    resume: Resume,
    done: int,
) -> Iterator[Tensor]:
    """Yield the metrics of all circuits but the first, `done` ones, group by group."""
    batch = ablated.shorten(batch)
    outside = ablated.writes(batch)
    written = site_outputs(model, outside)
    full = answer_logits(model, batch.clean, after=batch.prefix)
    empty, whole = ~masks.any(1), masks.all(1)
    at_once = max(1, (rows or rows_per_pass(model, batch)) // len(batch))
    # The empty circuit runs alone, as the full model does: rounding differs with the
    # rows of a pass, and faithfulness divides by the difference of the two.
    groups = [masks[empty], *masks[~empty & ~whole].split(at_once)]
    position, before, stream = 0, masks[:0], []
    for group in filter(len, groups):
        position += len(group)
        if position < done:
            continue
        repeated = batch.repeat(len(group))
        with (
            running_circuits(model, group, outside, written),
            # Sorted circuits begin as the one before them does: that is not run again.
            skipping_layers(
                model, stream[1 : 2 * _layers_alike(model, before, group) : 2]
            ),
            captured_stream(model) as stream,
        ):
            logits = answer_logits(model, repeated.clean, after=batch.prefix)
        before = group
        if position == done:
            # Run once more for the next group, which may begin as this one does.
            resume.restore_counters()
        else:
            yield _measure(repeated, logits, full)
    if whole.any():
        yield _measure(batch, full, full)


def _layers_alike(model: nn.Module, before: Tensor, circuits: Tensor) -> int:
    """Return in how many layers, from the first on, two circuits have the same nodes.

    None where it is not one circuit after another one, `(1, n_nodes)` each.
    """
    if len(before) != 1 or len(circuits) != 1:
        return 0
    layers = len(layer_modules(model))
    alike = (before == circuits).view(layers, -1).all(1)
    return int(alike.int().cumprod(0).sum())


def _measure(batch: PairBatch, logits: Tensor, full: Tensor) -> Tensor:
    """Return the metrics of circuits side by side, float32 `(4, circuits, batch)`.

    Args:
        batch: the pairs, repeated for every circuit.
        logits: `(circuits * batch, vocabulary)`.
        full: of the full model, on every pair once.

    Returns:
        The metrics in the order of `Metrics`.
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


def _mean(metric: Tensor) -> Tensor:
    # In float64, so that the order of the examples does not matter.
    return metric.double().mean(1)


def _known(values: Tensor) -> list[float | None]:
    """Return the values, None for those that are not numbers."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
