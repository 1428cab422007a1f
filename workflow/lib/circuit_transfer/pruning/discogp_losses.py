"""The losses of DiscoGP: of the answers of a circuit and of what it leaves out."""

import torch
from torch import Tensor

from circuit_transfer.prompts.batches import PairBatch


def answer_log_probabilities(batch: PairBatch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log probabilities among the right and the wrong answers alone.

    Args:
        batch: the pairs.
        logits: `(batch, vocabulary)`.

    Returns:
        Log probabilities `(batch, answers)`, right answers first, minus infinity where
        there is none; and which there are, bool of the same shape.
    """
    ids = torch.cat([batch.answers, batch.wrong_answers], dim=1).to(logits.device)
    given = ids >= 0
    chosen = logits.gather(1, ids.clamp(min=0)).masked_fill(~given, -torch.inf)
    return chosen.log_softmax(1), given


def right_answer_loss(batch: PairBatch, logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of any right answer among all answers."""
    found, _ = answer_log_probabilities(batch, logits)
    return -found[:, : batch.answers.shape[1]].logsumexp(1).mean()


def uniform_loss(batch: PairBatch, logits: Tensor) -> Tensor:
    """Return the mean cross-entropy to equal probabilities of all answers."""
    found, given = answer_log_probabilities(batch, logits)
    return -(found.masked_fill(~given, 0.0).sum(1) / given.sum(1)).mean()


def same_answers_loss(batch: PairBatch, logits: Tensor, other: Tensor) -> Tensor:
    """Return the mean cross-entropy to the probabilities of answers by other logits."""
    found, given = answer_log_probabilities(batch, logits)
    target = answer_log_probabilities(batch, other)[0].exp()
    return -(target * found.masked_fill(~given, 0.0)).sum(1).mean()
