"""What an embedded model is trained for, and how well it does."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from circuit_transfer.curriculum import Texts

IGNORED = -100


def training_loss(model: PreTrainedModel, batch: Texts) -> Tensor:
    """Cross entropy over all tokens, plus that of the answers once more.

    Without the first, lookup is not learned; without the second, everything is slow.
    """
    logits = model(batch.ids).logits  # (batch, position, vocabulary)
    targets = batch.ids.masked_fill(~batch.mask, IGNORED)
    everything = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED
    )
    rows = torch.arange(len(batch))
    answers = functional.cross_entropy(
        logits[rows, batch.answers - 1], batch.ids[rows, batch.answers]
    )
    return everything + answers


@torch.inference_mode()
def accuracy(model: PreTrainedModel, texts: Texts) -> float:
    """How often the likeliest token of all is the first one of the answer."""
    model.eval()
    logits = model(texts.ids).logits
    rows = torch.arange(len(texts))
    guesses = logits[rows, texts.answers - 1].argmax(-1)
    return (guesses == texts.ids[rows, texts.answers]).float().mean().item()
