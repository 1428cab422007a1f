"""The terms of the loss of a student, see `variants.Variant`.

`task + cka_weight * sum over the pairs of heads of (1 - CKA) + logits`, as far as a
variant has them (Wadhwa et al. 2025, arXiv 2509.25002, Section 3).
"""

import torch
from torch import Tensor

from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.prompts.batches import PairBatch


def task_losses(batch: PairBatch, logits: Tensor) -> Tensor:
    """Return the cross-entropy of the right answer of every example, in nats.

    Where there are several right answers, that of any of them.

    Args:
        batch: the pairs.
        logits: at the answer position, `(batch, vocabulary)`.

    Returns:
        `(batch,)`.
    """
    answers = batch.answers.to(logits.device)
    found = logits.log_softmax(-1).gather(1, answers.clamp(min=0))
    found = found.masked_fill(answers < 0, -torch.inf)
    return -found.logsumexp(1)


def logit_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) at a temperature, times its square.

    The square keeps the size of the gradient (Hinton et al. 2015, arXiv 1503.02531,
    Section 2).

    Args:
        teacher: logits at the answer position, `(batch, vocabulary)`.
        student: likewise.
        temperature: by which both are divided.
    """
    divided = (teacher.to(student) / temperature, student / temperature)
    return temperature**2 * answer_divergence(*divided).mean()


def cka_loss(similarities: Tensor) -> Tensor:
    """Return the sum of `1 - CKA` over pairs of heads.

    Args:
        similarities: the CKA of every pair, `(pairs,)`.
    """
    return (1 - similarities).sum()
