"""Run circuits on pairs, many side by side in one forward pass, and measure them.

The model runs on the clean prompts. Every node outside the circuit is ablated (its
output is replaced by that on the corrupted prompts, by zero, or by a mean), every node
inside computes its output from what then reaches it. Input and logits always belong to
the circuit (MIB, arXiv 2504.13151, Section 3).
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.metrics import Metrics, example_metrics
from circuit_transfer.interventions import (
    answer_logits,
    captured_stream,
    running_circuits,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.architectures import layer_modules
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass

log = logging.getLogger(__name__)


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

    The clean and the ablated run are shared by all circuits, and equal circuits run
    once.

    Args:
        model: a causal language model.
        batches: the pairs; examples stay in this order.
        masks: the circuits, `(circuits, n_nodes)` of ones and zeros.
        ablation: what replaces the output of nodes outside a circuit, see `ablations`.
        rows: prompts in one forward pass: as many circuits as fit run together, and at
            least one; by default what suits model and device. Changes no result by
            more than rounding.
        resume: saves the metrics of the circuits that have run.
    """
    unique, which = masks.unique(dim=0, return_inverse=True)
    ablated = ablation_of(model, batches, ablation)
    names = [f"{ablation}/batch-{number}" for number in range(len(batches))]
    parts = [
        _run_batch(model, batch, unique, ablated, rows, resume, name)
        for batch, name in progress(
            zip(batches, names, strict=True), len(batches), "batch"
        )
    ]
    return Metrics(*torch.cat(parts, dim=2)[:, which])


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

    The circuits are distinct and sorted: the empty one first, the full one last.
    """
    found: list[Tensor] = []

    def joined() -> Tensor:
        # Saved metrics are on the host, those of this run may be on a GPU.
        return torch.cat([each.to(found[-1].device) for each in found], dim=1)

    state = resume.restore(name, lambda: State({"metrics": joined()}, {}))
    done = 0
    if state is not None:
        found.append(state.tensors["metrics"])
        done = found[0].shape[1]
        log.info("%s: resumed after %d of %d circuits", name, done, len(masks))
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
    """Yield the metrics of all circuits but the first `done` ones, group by group."""
    batch = ablated.shorten(batch)
    outside = ablated.outputs(batch)
    written = site_outputs(model, outside)
    full = answer_logits(model, batch.clean, after=batch.prefix)
    empty, whole = ~masks.any(1), masks.all(1)
    at_once = max(1, (rows or rows_per_pass(model, batch)) // len(batch))
    # The empty circuit runs alone, as the full model does: rounding differs with the
    # rows of a pass, and faithfulness divides by the difference of the two.
    groups = [masks[empty], *masks[~empty & ~whole].split(at_once)]
    before, stream = masks[:0], []
    for group, position in _left(groups, done):
        repeated = batch.repeat(len(group))
        with (
            running_circuits(model, group, outside, written),
            # Of sorted circuits, one mostly shares its first layers with the one
            # before it: these layers do not run again.
            skipping_layers(
                model, stream[1 : 2 * _equal_layers(model, before, group) : 2]
            ),
            captured_stream(model) as stream,
        ):
            logits = answer_logits(model, repeated.clean, after=batch.prefix)
        before = group
        if position == done:
            # Run once more only for its layers, which the next group may share.
            resume.restore_counters()
        else:
            yield example_metrics(repeated, logits, full)
    if whole.any():
        yield example_metrics(batch, full, full)


def _left(groups: Sequence[Tensor], done: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the groups that are left and the last one done, with the number up to it.

    Args:
        groups: of circuits, which may be empty.
        done: how many circuits have run.
    """
    groups = [*filter(len, groups)]
    ends = [*accumulate(map(len, groups))]
    left = [each for each in zip(groups, ends, strict=True) if each[1] >= done]
    before = sum(map(len, groups)) - sum(len(group) for group, _ in left)
    yield from progress(
        left,
        sum(map(len, groups)),
        "circuit",
        done=before,
        size=lambda each: len(each[0]),
    )


def _equal_layers(model: nn.Module, before: Tensor, circuits: Tensor) -> int:
    """Return in how many layers, from the first on, two circuits have the same nodes.

    Zero unless both groups are single circuits, `(1, n_nodes)` each.
    """
    if len(before) != 1 or len(circuits) != 1:
        return 0
    layers = len(layer_modules(model))
    equal = (before == circuits).view(layers, -1).all(1)
    return int(equal.int().cumprod(0).sum())
