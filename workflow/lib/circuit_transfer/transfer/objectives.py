"""What alignments are trained for: circuits as faithful as the full target model.

Differentiable Faithfulness Alignment (DFA, arXiv 2604.24302, Section 3) makes a soft
mask of projected scores, and trains it so that the masked target predicts the next
token as the full target does. In the relative form the sparsity term is in units of
the empty circuit's divergence, so that one weight suits every model and task. The third
objective, the area, trains circuits of the evaluated sizes to be faithful.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.metrics import answer_divergence, unfaithfulness
from circuit_transfer.circuits.prepared import Prepared


@dataclass(frozen=True)
class FitSettings:
    """How a matrix is trained; the keys of `alignment` in the configuration.

    Attributes:
        intervention: how the soft mask acts on the target, see `masked_runs`.
        epochs: passes over the training pairs of all tasks.
        learning_rate: Adam's; decays linearly to a tenth.
        sparsity: weight of the mean mask in the loss (the paper's lambda).
        objective: `divergence`, the paper's, or `relative-divergence`, see
            `alignment_loss`; or `area`, which trains what the evaluation measures, see
            `area_loss`.
        proportions: circuit sizes of the area objective, as in the evaluation.
        initial_scale: standard deviation of the random start.
        prior_scale: standard deviation over the target's nodes of the training tasks'
            scores projected by a prior.
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


def alignment_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a soft mask on a batch, and its divergence term.

    KL(clean || intervened) at the answer position, mean over the batch, plus
    `sparsity` times the mean mask (the paper's equation for the alignment objective).
    By `relative-divergence` that weight is multiplied by KL(clean || empty circuit) of
    the batch: a weight of 1 makes the full circuit cost as much as the empty one.
    Of one mask `(n_nodes,)` both are scalars, of several `(masks, n_nodes)` both are
    `(masks,)`.
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    divergence = answer_divergence(prepared.full, logits).mean(-1)
    weight = settings.sparsity
    if settings.objective == "relative-divergence":
        weight = weight * answer_divergence(prepared.full, prepared.empty).mean(-1)
    return divergence + weight * mask.mean(-1), divergence


def area_loss(
    model: nn.Module, prepared: Prepared, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return a soft circuit's distance from full faithfulness on a batch, and its KL.

    `|1 - faithfulness|`, with faithfulness as in the evaluation, but on the batch.
    Over sizes that are drawn with the weights of the trapezoid rule, its expectation is
    the area between the curve and 1 (CMD, up to a constant).

    Args:
        model: the target, with frozen parameters.
        prepared: a batch.
        mask: a soft circuit `(n_nodes,)`, see `masks.soft_circuit`, or several.
        settings: only the intervention is used.
    """
    logits = masked_logits(model, prepared, mask, settings.intervention)
    loss = unfaithfulness(prepared.batch, prepared.full, prepared.empty, logits)
    return loss, answer_divergence(prepared.full, logits).mean(-1)
