"""Training loss and accuracy of an embedded model."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from circuit_transfer.embedded.curriculum import Texts

IGNORED = -100
# Number of parts of a batch that are padded separately; more are slower again.
PARTS = 2


def training_loss(model: PreTrainedModel, batch: Texts) -> Tensor:
    """Return the mean cross entropy of all tokens plus that of the answers' tokens.

    Without the first term lookup tasks are not learned; without the second all tasks
    are learned slowly.
    """
    losses = [_summed_losses(model, part) for part in batch.by_length(PARTS)]
    everything, answers = (sum(terms) for terms in zip(*losses, strict=True))
    # The first token of a text is never predicted.
    return everything / batch.mask[:, 1:].sum() + answers / batch.of_answer.sum()


def _summed_losses(model: PreTrainedModel, texts: Texts) -> tuple[Tensor, Tensor]:
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
