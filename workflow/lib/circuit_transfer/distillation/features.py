"""Run two models on the same prompts for the features of their heads."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from circuit_transfer.distillation.activations import head_features
from circuit_transfer.distillation.settings import ALL_POSITIONS
from circuit_transfer.interventions import run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import PairBatch


def run_heads(
    model: nn.Module, batches: Sequence[PairBatch], heads: Sequence[str], at: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield answer logits and the features of heads on every batch's clean prompts.

    Args:
        model: a causal language model.
        batches: the prompts.
        heads: names of the heads.
        at: see `activations.head_features`.

    Yields:
        `(batch, vocabulary)` and `(heads, rows, d_head)`.
    """
    for batch in progress(batches, len(batches), "activations of batch"):
        logits, sites = run_captured(model, batch.clean)
        yield logits, head_features(sites, heads, at)


def check_positions(
    batches: Sequence[tuple[PairBatch, PairBatch]], positions: str
) -> None:
    """Check that the features of two models on the same prompts correspond.

    Raises:
        ValueError: a prompt has another number of tokens in the other model, but the
            features are those of all positions.
    """
    lengths = [(own.clean.shape[1], other.clean.shape[1]) for own, other in batches]
    unequal = [pair for pair in lengths if pair[0] != pair[1]]
    if positions == ALL_POSITIONS and unequal:
        raise ValueError(
            f"distillation.positions: {ALL_POSITIONS} needs prompts of equally many "
            f"tokens in both models, but some have {unequal[0][0]} in the student and "
            f"{unequal[0][1]} in the teacher; use positions: answer"
        )
