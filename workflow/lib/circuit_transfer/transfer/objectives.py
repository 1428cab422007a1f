"""What alignments are trained for: circuits as faithful as the full target model.

Differentiable Faithfulness Alignment (DFA, arXiv 2604.24302, Section 3) makes a soft
mask of projected scores, and trains it so that the masked target predicts the next
token as the full target does. In the relative form the sparsity term is in units of
the empty circuit's divergence, so that one weight suits every model and task. The third
objective, the area, trains circuits of the evaluated sizes to be faithful.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from torch import Tensor

from circuit_transfer.circuits.metrics import answer_divergence, unfaithfulness
from circuit_transfer.circuits.prepared import Cacheable

# Runs a prepared batch under masks of nodes or edges `(masks, n)`: returns the answer
# logits `(masks, batch, vocabulary)`. See `circuits.masked_runs`.
Run = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class FitSettings:
    """How a map is trained; the keys of `alignment` in the configuration.

    Attributes:
        intervention: how a soft mask of nodes acts on the target, see `masked_runs`.
            Masks of edges are circuits.
        epochs: passes over the training pairs of all tasks.
        learning_rate: Adam's; decays linearly to a tenth.
        sparsity: weight of the mean mask in the loss (the paper's lambda).
        objective: `divergence`, the paper's, or `relative-divergence`, see
            `alignment_loss`; or `area`, which trains what the evaluation measures, see
            `area_loss`.
        proportions: circuit sizes of the area objective, as in the evaluation.
        initial_scale: standard deviation of the random start.
        prior_scale: standard deviation over the target's nodes or edges of the training
            tasks' scores projected by a prior.
        prior_penalty: weight of the squared distance from the prior in the loss.
    """

    intervention: str = "circuit"
    _: KW_ONLY
    epochs: int
    learning_rate: float
    sparsity: float
    objective: str = "divergence"
    proportions: Sequence[float] = ()
    initial_scale: float = 0.02
    prior_scale: float = 2.0
    prior_penalty: float = 0.01


def alignment_loss(
    run: Run, prepared: Cacheable, mask: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a soft mask on a batch, and its divergence term.

    KL(clean || intervened) at the answer position, mean over the batch, plus
    `sparsity` times the mean mask (the paper's equation for the alignment objective).
    By `relative-divergence` that weight is multiplied by KL(clean || empty circuit) of
    the batch: a weight of 1 makes the full circuit cost as much as the empty one.
    Of several masks `(masks, n)` both are `(masks,)`; of one mask of nodes `(n,)` both
    are scalars.

    Args:
        run: how masks run, see `Run`.
        prepared: a batch.
        mask: soft masks.
        settings: only the objective and the sparsity are used.
    """
    logits = run(prepared, mask)
    divergence = answer_divergence(prepared.full, logits).mean(-1)
    weight = settings.sparsity
    if settings.objective == "relative-divergence":
        weight = weight * answer_divergence(prepared.full, prepared.empty).mean(-1)
    return divergence + weight * mask.mean(-1), divergence


def area_loss(run: Run, prepared: Cacheable, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return a soft circuit's distance from full faithfulness on a batch, and its KL.

    `|1 - faithfulness|`, with faithfulness as in the evaluation, but on the batch.
    Over sizes that are drawn with the weights of the trapezoid rule, its expectation is
    the area between the curve and 1 (CMD, up to a constant).

    Args:
        run: how masks run, see `Run`.
        prepared: a batch.
        mask: soft circuits `(masks, n)`, see `masks.soft_circuit`, or one of nodes.
    """
    logits = run(prepared, mask)
    loss = unfaithfulness(prepared.batch, prepared.full, prepared.empty, logits)
    return loss, answer_divergence(prepared.full, logits).mean(-1)
