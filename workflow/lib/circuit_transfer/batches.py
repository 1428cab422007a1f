"""Tokenized pairs as tensors, in batches of equal length."""

from dataclasses import dataclass, replace
from typing import Self

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.architectures import node_sites
from circuit_transfer.interventions import Prefix

# How much one pass of several circuits may hold: numbers that the nodes write (few
# prompts leave a processor waiting, too many leave its cache), and logits.
ACTIVATIONS = {"cpu": 2**20, "cuda": 2**28}
LOGITS = 2**24


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one prompt length.

    Attributes:
        clean: token ids `(batch, position)`.
        corrupted: token ids `(batch, position)`.
        answers: token ids `(batch, answers)`, each right after the clean prompt;
            where a pair has fewer than others, -1.
        wrong_answers: token ids `(batch, wrong answers)`, in the same way.
        prefix: the positions before these, which have been run; None where the prompts
            begin here.
    """

    clean: Tensor
    corrupted: Tensor
    answers: Tensor
    wrong_answers: Tensor
    prefix: Prefix | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.clean)

    def repeat(self, times: int) -> Self:
        """Return the same pairs several times, all of them one after the other."""
        names = ("clean", "corrupted", "answers", "wrong_answers")
        parts = {name: getattr(self, name).repeat(times, 1) for name in names}
        return replace(self, **parts)

    def shared(self) -> int:
        """Return how many positions at the beginning no pair has corrupted.

        In a causal model, nothing differs there between the two runs.
        """
        return int((self.clean != self.corrupted).any(0).int().argmax())

    def following(self, prefix: Prefix, length: int) -> Self:
        """Return the pairs without their first positions, which have been run."""
        rest = {
            "clean": self.clean[:, length:],
            "corrupted": self.corrupted[:, length:],
        }
        return replace(self, **rest, prefix=prefix)

    def logit_diff(self, logits: Tensor) -> Tensor:
        """Return the metric `(batch,)` of logits `(batch, vocabulary)`.

        The mean logit of the right answers minus the mean logit of the wrong ones: for
        one of each, the logit difference (DFA, arXiv 2604.24302, Section 3).
        """
        right = _mean_logit(logits, self.answers)
        return right - _mean_logit(logits, self.wrong_answers)

    def correct(self, logits: Tensor) -> Tensor:
        """Return where the likeliest token of all is a right answer, `(batch,)`."""
        answers = self.answers.to(logits.device)
        return (logits.argmax(-1, keepdim=True) == answers).any(1)


def _mean_logit(logits: Tensor, ids: Tensor) -> Tensor:
    ids = ids.to(logits.device)
    given = ids >= 0
    chosen = logits.gather(1, ids.clamp(min=0))
    return (chosen * given).sum(1) / given.sum(1)


def pair_batches(
    pairs: pl.DataFrame, batch_size: int, device: torch.device | str = "cpu"
) -> list[PairBatch]:
    """Cut a frame of tokenized pairs into batches of prompts of one length.

    So nothing is ever padded. Batches come shortest prompts first, rows in their order.
    """
    by_length = pairs.group_by(
        pl.col("clean_ids").list.len().alias("length"), maintain_order=True
    )
    buckets = {length: bucket for (length,), bucket in by_length}
    return [
        _batch(part, device)
        for length in sorted(buckets)
        for part in buckets[length].iter_slices(batch_size)
    ]


def rows_per_pass(model: nn.Module, batch: PairBatch) -> int:
    """Return how many prompts like those of a batch one pass should have."""
    config, positions = model.config, batch.clean.shape[1]
    written = len(node_sites(model)) * config.hidden_size * positions
    held = ACTIVATIONS.get(model.device.type, ACTIVATIONS["cpu"])
    return min(held // written, LOGITS // config.vocab_size)


def _batch(part: pl.DataFrame, device: torch.device | str) -> PairBatch:
    def tensor(column: str) -> Tensor:
        rows = part[column].to_list()
        most = max(map(len, rows))
        padded = [row + [-1] * (most - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=device)

    return PairBatch(
        clean=tensor("clean_ids"),
        corrupted=tensor("corrupted_ids"),
        answers=tensor("answer_ids"),
        wrong_answers=tensor("wrong_answer_ids"),
    )
