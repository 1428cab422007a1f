"""What alignments are trained for: circuits that do what the whole target does.

Differentiable Faithfulness Alignment (arXiv 2604.24302, Section 3) makes a soft mask of
projected scores, and wants the masked target to predict what the whole target does. The
other objective, the area, wants circuits of the evaluated sizes to be faithful.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.ablations import ablation_of
from circuit_transfer.batches import PairBatch
from circuit_transfer.faithfulness import answer_divergence
from circuit_transfer.interventions import (
    answer_logits,
    mixing,
    pushing,
    run_captured,
)
from circuit_transfer.job import progress
from circuit_transfer.nodes import count_kept


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

    The clean and corrupted runs are the same in every step of every fit, so they are
    made once: the answer logits of the `full` and the `empty` circuit, and what every
    site wrote. By the counterfactual ablation `empty` is the corrupted run, which is
    the empty circuit's where both prompts end with the same token.
    """

    task: str
    batch: PairBatch
    full: Tensor
    empty: Tensor
    clean: Sequence[Tensor]
    corrupted: Sequence[Tensor]


def prepare(
    model: nn.Module,
    batches: Mapping[str, Sequence[PairBatch]],
    ablation: str = "counterfactual",
) -> list[Prepared]:
    """Run every task's batches clean and corrupted, once for all fits.

    With another ablation, what it writes stands in place of the corrupted activations;
    the mean is that of the task's own batches. The intervention `release`, which starts
    from the corrupted prompts, does not use them.

    Raises:
        ValueError: the ablation is unknown.
    """
    prepared = []
    for task, parts in batches.items():
        ablated = ablation_of(model, parts, ablation)
        for batch in progress(parts, len(parts), f"batches of {task}"):
            full, clean = run_captured(model, batch.clean)
            empty, corrupted = ablated.run(batch)
            prepared.append(Prepared(task, batch, full, empty, clean, corrupted))
    return prepared


def alignment_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a soft mask `(n_nodes,)` on a batch, and its divergence term.

    KL(clean || intervened) at the answer position, mean over the batch, plus
    `sparsity` times the mean mask (the paper's equation for the alignment objective).
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    divergence = answer_divergence(prepared.full, logits).mean()
    return divergence + settings.sparsity * mask.mean(), divergence


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
        mask: a soft circuit `(n_nodes,)`, see `soft_circuit`.
        settings: of them, the intervention.
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    diff, full, empty = (
        prepared.batch.logit_diff(each).mean()
        for each in (logits, prepared.full, prepared.empty)
    )
    loss = (1 - (diff - empty) / (full - empty)).abs()
    return loss, answer_divergence(prepared.full, logits).mean()


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
        kept = count_kept(proportion, n_nodes)
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
    with context:
        return answer_logits(model, ids)
