"""What an embedded model is trained for, and how well it does."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from circuit_transfer.embedded.curriculum import Texts

IGNORED = -100
# Parts of a batch that are padded separately; more cost more than they save.
PARTS = 2


def training_loss(model: PreTrainedModel, batch: Texts) -> Tensor:
    """Mean cross entropy over all tokens, plus that over the tokens of the answers.

    Without the first, lookup is not learned; without the second, everything is slow.
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
    """How often every token of the answer is the likeliest one of all at its place.

    The tokens of an answer before it are given, as to a model that has written them.
    """
    model.eval()
    right = model(texts.ids).logits[:, :-1].argmax(-1) == texts.ids[:, 1:]
    return (right | ~texts.of_answer[:, 1:]).all(1).float().mean().item()
