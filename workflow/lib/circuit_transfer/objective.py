"""What an embedded model is trained for, and how well it does."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from circuit_transfer.curriculum import Texts

IGNORED = -100
# Parts of a batch that are padded separately; more cost more than they save.
PARTS = 2


def training_loss(model: PreTrainedModel, batch: Texts) -> Tensor:
    """Mean cross entropy over all tokens, plus that over the answers.

    Without the first, lookup is not learned; without the second, everything is slow.
    """
    losses = [_summed_losses(model, part) for part in batch.by_length(PARTS)]
    everything, answers = (sum(terms) for terms in zip(*losses, strict=True))
    # The first token of a text is never predicted.
    return everything / batch.mask[:, 1:].sum() + answers / len(batch)


def _summed_losses(model: PreTrainedModel, texts: Texts) -> tuple[Tensor, Tensor]:
    logits = model(texts.ids).logits  # (text, position, vocabulary)
    targets = texts.ids.masked_fill(~texts.mask, IGNORED)
    everything = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1),
        targets[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    rows = torch.arange(len(texts))
    answers = functional.cross_entropy(
        logits[rows, texts.answers - 1],
        texts.ids[rows, texts.answers],
        reduction="sum",
    )
    return everything, answers


@torch.inference_mode()
def accuracy(model: PreTrainedModel, texts: Texts) -> float:
    """How often the likeliest token of all is the first one of the answer."""
    model.eval()
    logits = model(texts.ids).logits
    rows = torch.arange(len(texts))
    guesses = logits[rows, texts.answers - 1].argmax(-1)
    return (guesses == texts.ids[rows, texts.answers]).float().mean().item()
