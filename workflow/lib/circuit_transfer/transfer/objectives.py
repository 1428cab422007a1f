"""What alignments are trained for: circuits that do what the whole target does.

Differentiable Faithfulness Alignment (arXiv 2604.24302, Section 3) makes a soft mask of
projected scores, and wants the masked target to predict what the whole target does. The
other objective, the area, wants circuits of the evaluated sizes to be faithful.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.faithfulness import answer_divergence
from circuit_transfer.interventions import (
    answer_logits,
    mixing,
    pushing,
    run_captured,
)
from circuit_transfer.jobs.job import progress
from circuit_transfer.models.nodes import circuit_size
from circuit_transfer.prompts.batches import PairBatch

log = logging.getLogger(__name__)

# How much the prepared batches of a job may hold, on the model's device and beside it.
KEPT_BYTES, HOST_BYTES = 8 * 2**30, 32 * 2**30


@dataclass(frozen=True)
class FitSettings:
    """How a matrix is trained; the keys of `alignment` in the configuration.

    Attributes:
        intervention: what the soft mask does to the target, see `masked_logits`.
        epochs: passes over the training pairs of all tasks.
        learning_rate: Adam's; decays linearly to a tenth.
        sparsity: weight of the mean mask beside the divergence (the paper's lambda).
        objective: `divergence`, the paper's, see `alignment_loss`; or `area`, which
            trains what the evaluation measures, see `area_loss`.
        proportions: sizes of the circuits whose area it is, as in the evaluation.
        initial_scale: standard deviation of the random start.
        prior_scale: standard deviation over the target's nodes of what a prior makes
            of the training tasks' scores.
        prior_penalty: weight of the squared distance from the prior in the loss.
    """

    intervention: str
    epochs: int
    learning_rate: float
    sparsity: float
    objective: str = "divergence"
    proportions: Sequence[float] = ()
    initial_scale: float = 0.02
    prior_scale: float = 2.0
    prior_penalty: float = 0.01


@dataclass(frozen=True)
class Prepared:
    """One batch of a task with what every training step needs of it.

    The clean and corrupted runs are the same in every step of every fit: the answer
    logits of the `full` and the `empty` circuit, and what every site wrote. By the
    counterfactual ablation `empty` is the corrupted run, which is the empty circuit's
    where both prompts end with the same token.

    Attributes:
        task: its name.
        batch: the pairs, from where their prompts begin to differ, if they do.
        full: `(batch, vocabulary)`.
        empty: `(batch, vocabulary)`.
        clean: by site, on the positions of `batch`; empty where it is not needed.
        corrupted: by site; what is written instead of it by another ablation.
    """

    task: str
    batch: PairBatch
    full: Tensor
    empty: Tensor
    clean: Sequence[Tensor]
    corrupted: Sequence[Tensor]

    def bytes(self) -> int:
        """Return how much memory it takes."""
        prefix = self.batch.prefix.tensors() if self.batch.prefix else []
        held = [self.full, self.empty, *self.clean, *self.corrupted, *prefix]
        return sum(each.nbytes for each in held)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with all tensors moved, as to another device."""
        prefix = self.batch.prefix
        return replace(
            self,
            batch=replace(self.batch, prefix=prefix and prefix.moved(move)),
            full=move(self.full),
            empty=move(self.empty),
            clean=[move(each) for each in self.clean],
            corrupted=[move(each) for each in self.corrupted],
        )


class Preparations(Sequence[Prepared]):
    """The batches of several tasks, prepared once as far as the memory allows.

    What does not fit on the model's device is kept on the host, and what does not fit
    there is prepared anew each time that it is asked for.
    """

    def __init__(
        self,
        pending: Sequence[Callable[[], Prepared]],
        tasks: Sequence[str],
        rests: Sequence[PairBatch],
    ):
        """Take how to prepare every batch, its task, and what a step will run of it."""
        self.tasks, self.rests = tuple(tasks), tuple(rests)
        self._pending = pending
        self._here: dict[int, Prepared] = {}
        self._on_host: dict[int, Prepared] = {}

    def keep(self, budget: int, host_budget: int = 0) -> None:
        """Prepare the first batches now and keep them.

        Args:
            budget: bytes that they may take on the model's device.
            host_budget: bytes that those which follow may take on the host.
        """
        held = 0
        for index in progress(range(len(self)), len(self), "batches prepared"):
            prepared = self._pending[index]()
            held += prepared.bytes()
            if held <= budget:
                self._here[index] = prepared
            elif held <= budget + host_budget:
                self._on_host[index] = prepared.moved(_to_host)
            else:
                log.info(
                    "%d of %d prepared batches are kept, in %.1f GB; "
                    "the others are run again in every epoch",
                    *(index, len(self), (budget + host_budget) / 1e9),
                )
                return

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._pending)

    def __getitem__(self, index: int) -> Prepared:
        """Return a batch, prepared."""
        if index in self._here:
            return self._here[index]
        if index in self._on_host:
            kept = self._on_host[index]
            device = kept.batch.clean.device
            return kept.moved(lambda each: each.to(device, non_blocking=True))
        return self._pending[index]()


def _to_host(tensor: Tensor) -> Tensor:
    # Only from pinned memory can a GPU fetch it while it computes.
    return tensor.cpu().pin_memory() if tensor.is_cuda else tensor.cpu()


def prepare(
    model: nn.Module,
    batches: Mapping[str, Sequence[PairBatch]],
    ablation: str = "counterfactual",
    *,
    intervention: str | None = None,
    budget: int = KEPT_BYTES,
) -> Preparations:
    """Run every task's batches clean and corrupted, once for all fits.

    With another ablation, what it writes stands in place of the corrupted activations;
    the mean is that of the task's own batches. The intervention `release`, which starts
    from the corrupted prompts, does not use them.

    Args:
        model: the target.
        batches: by task.
        ablation: see `ablations`.
        intervention: the only one that will be used, see `masked_logits`: what it does
            not need is not kept.
        budget: bytes that what is kept may take on the model's device; on the host of a
            GPU it may take `HOST_BYTES` more.

    Raises:
        ValueError: the ablation is unknown.
    """
    pending, tasks, rests = [], [], []
    for task, parts in batches.items():
        ablated = ablation_of(model, parts, ablation)
        settings = (ablated, task, intervention != "circuit")
        pending += [partial(_prepared, model, batch, *settings) for batch in parts]
        tasks += [task] * len(parts)
        rests += [batch.following(None, ablated.shared(batch)) for batch in parts]
    prepared = Preparations(pending, tasks, rests)
    prepared.keep(budget, HOST_BYTES if model.device.type == "cuda" else 0)
    return prepared


# Not in inference mode: training takes gradients of what is made of these.
@torch.no_grad()
def _prepared(
    model: nn.Module, batch: PairBatch, ablated: Ablation, task: str, keep_clean: bool
) -> Prepared:
    batch = ablated.shorten(batch)
    if keep_clean:
        full, clean = run_captured(model, batch.clean, batch.prefix)
    else:
        full, clean = answer_logits(model, batch.clean, after=batch.prefix), []
    empty, corrupted = ablated.run(batch)
    return Prepared(task, batch, full, empty, clean, corrupted)


def alignment_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a soft mask on a batch, and its divergence term.

    KL(clean || intervened) at the answer position, mean over the batch, plus
    `sparsity` times the mean mask (the paper's equation for the alignment objective).
    Of one mask `(n_nodes,)` both are scalars, of several `(masks, n_nodes)` both are
    `(masks,)`.
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    divergence = answer_divergence(prepared.full, logits).mean(-1)
    return divergence + settings.sparsity * mask.mean(-1), divergence


def area_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return how far a circuit is from faithful on a batch, and its divergence.

    `|1 - faithfulness|`, with faithfulness as the evaluation has it, but on the batch.
    Over sizes that are drawn as the trapezoid rule weighs them, its expectation is the
    area between the curve and 1 (CMD, up to a constant).

    Args:
        model: the target, with frozen parameters.
        prepared: a batch.
        mask: a soft circuit `(n_nodes,)`, see `soft_circuit`, or several.
        settings: of them, the intervention.
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    full, empty = (
        prepared.batch.logit_diff(each).mean()
        for each in (prepared.full, prepared.empty)
    )
    every = prepared.batch.repeat(mask[..., 0].numel())
    diffs = every.logit_diff(logits.flatten(0, -2)).view(logits.shape[:-1])
    loss = (1 - (diffs.mean(-1) - empty) / (full - empty)).abs()
    return loss, answer_divergence(prepared.full, logits).mean(-1)


def soft_circuit(scores: Tensor, kept: int, softness: float) -> Tensor:
    """Return the circuit of some size with a soft edge, `(n_nodes,)`.

    A sigmoid of the standardised scores, half way between the last node inside and the
    first one outside; the harder the edge, the nearer the circuit of the evaluation.

    Args:
        scores: `(n_nodes,)`.
        kept: number of nodes, between 0 and all, exclusive.
        softness: width of the edge, in standard deviations of the scores.
    """
    standardised = (scores - scores.mean()) / (scores.std() + 1e-6)
    ranked = standardised.detach().sort(descending=True).values
    edge = (ranked[kept - 1] + ranked[kept]) / 2
    return torch.sigmoid((standardised - edge) / softness)


def size_weights(proportions: Sequence[float], n_nodes: int) -> dict[int, float]:
    """Return what every circuit size counts in the area, by its number of nodes.

    The weights of the trapezoid rule. The empty and the full circuit, which are the
    same for every ranking, are left out.
    """
    sizes = np.asarray(proportions, float)
    widths = np.diff(sizes)
    weights = (np.append(widths, 0) + np.append(0, widths)) / 2
    found: dict[int, float] = {}
    for proportion, weight in zip(proportions, weights, strict=True):
        kept = circuit_size(proportion, n_nodes)
        if 0 < kept < n_nodes:
            found[kept] = found.get(kept, 0) + float(weight)
    return found


def masked_logits(
    model: nn.Module, prepared: Prepared, mask: Tensor, intervention: str
) -> Tensor:
    """Return the answer logits `(batch, vocabulary)` of the target under a soft mask.

    `circuit` mixes live outputs with the corrupted ones on the clean prompts: with a
    binary mask that is what evaluation does. `interpolation` mixes cached clean with
    cached corrupted outputs, the paper's equation. `release` pushes live outputs on
    the corrupted prompts towards the clean ones, as the public code does.

    Several masks `(masks, n_nodes)` run side by side and give one more axis in front.

    Raises:
        ValueError: the intervention is unknown.
    """
    batch, clean, corrupted = prepared.batch, prepared.clean, prepared.corrupted
    if intervention == "circuit":
        ids, context = batch.clean, mixing(model, mask, corrupted)
    elif intervention == "interpolation":
        ids, context = batch.clean, mixing(model, mask, corrupted, inside=clean)
    elif intervention == "release":
        ids, context = batch.corrupted, pushing(model, mask, towards=clean)
    else:
        raise ValueError(
            f"intervention {intervention!r} is not one of circuit, interpolation, "
            "release"
        )
    times = mask[..., 0].numel()
    with context:
        logits = answer_logits(model, ids.repeat(times, 1), after=batch.prefix)
    return logits if mask.ndim == 1 else logits.unflatten(0, (times, -1))
