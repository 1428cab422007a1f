"""Training loss and accuracy of an embedded model."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from circuit_transfer.embedded.curriculum import Texts
from circuit_transfer.jobs.progress import progress

IGNORED = -100
# Number of parts of a batch that are padded separately; more are slower again.
PARTS = 2


@dataclass(frozen=True)
class Teacher:
    """A model whose predictions are learned from.

    Attributes:
        model: the teacher, with frozen parameters.
        temperature: that divides the logits of teacher and student.
        weight: of the divergence, next to that of the cross entropy, which is 1.
    """

    model: PreTrainedModel
    temperature: float = 1.0
    weight: float = 1.0

    def divergence(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Return the weighted divergence of a student from the teacher.

        The Kullback-Leibler divergence of the student's predictions from the teacher's,
        both at the temperature, times the square of the temperature, so that gradients
        do not fall with it (Hinton et al. 2015, arXiv 1503.02531).

        Args:
            ids: token ids `(text, position)`.
            logits: of the student, `(text, position, vocabulary)`.

        Returns:
            A tensor `(text, position)`.
        """
        with torch.no_grad():
            of_teacher = self.model(ids).logits
        divergence = functional.kl_div(
            (logits / self.temperature).log_softmax(-1),
            (of_teacher / self.temperature).log_softmax(-1),
            reduction="none",
            log_target=True,
        )
        return self.weight * self.temperature**2 * divergence.sum(-1)


def training_loss(
    model: PreTrainedModel, batch: Texts, teacher: Teacher | None = None
) -> Tensor:
    """Return the mean cross entropy of all tokens plus that of the answers' tokens.

    Without the first term lookup tasks are not learned; without the second all tasks
    are learned slowly. With a teacher, the divergence from it is added to both means.
    """
    losses = [_summed_losses(model, part, teacher) for part in batch.by_length(PARTS)]
    everything, answers = (sum(terms) for terms in zip(*losses, strict=True))
    # The first token of a text is never predicted.
    return everything / batch.mask[:, 1:].sum() + answers / batch.of_answer.sum()


def _summed_losses(
    model: PreTrainedModel, texts: Texts, teacher: Teacher | None
) -> tuple[Tensor, Tensor]:
    logits = model(texts.ids).logits  # (text, position, vocabulary)
    targets = texts.ids.masked_fill(~texts.mask, IGNORED)
    everything = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1),
        targets[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    of_answer = texts.of_answer[:, 1:]
    answers = functional.cross_entropy(
        logits[:, :-1][of_answer],
        texts.ids[:, 1:][of_answer],
        reduction="sum",
    )
    if teacher is not None:
        # At each position, the prediction of the next token.
        divergence = teacher.divergence(texts.ids, logits)[:, :-1]
        everything = everything + divergence[texts.mask[:, 1:]].sum()
        answers = answers + divergence[of_answer].sum()
    return everything, answers


@torch.inference_mode()
def accuracy(model: PreTrainedModel, texts: Texts) -> float:
    """Return the share of texts whose answer tokens are all predicted as most likely.

    The preceding tokens of an answer are given, as in greedy decoding of a right
    answer.
    """
    model.eval()
    correct = model(texts.ids).logits[:, :-1].argmax(-1) == texts.ids[:, 1:]
    return (correct | ~texts.of_answer[:, 1:]).all(1).float().mean().item()


def accuracies(model: PreTrainedModel, texts: Mapping[str, Texts]) -> dict[str, float]:
    """Return the `accuracy` by task."""
    tasks = progress(texts.items(), len(texts), "measuring task")
    return {name: accuracy(model, of_task) for name, of_task in tasks}


def listed(found: Mapping[str, float]) -> str:
    """Return accuracies by task in one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())
