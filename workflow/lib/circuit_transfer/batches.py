"""Tokenized pairs as tensors, in batches of equal length."""

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one prompt length.

    Attributes:
        clean: token ids `(batch, position)`.
        corrupted: token ids `(batch, position)`.
        answer: token ids `(batch,)`, right after the clean prompt.
        wrong_answer: token ids `(batch,)`.
    """

    clean: Tensor
    corrupted: Tensor
    answer: Tensor
    wrong_answer: Tensor

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.answer)

    def logit_diff(self, logits: Tensor) -> Tensor:
        """Return answer minus wrong logit `(batch,)` of `(batch, vocabulary)`."""
        right = logits.gather(1, self.answer[:, None])
        wrong = logits.gather(1, self.wrong_answer[:, None])
        return (right - wrong).squeeze(1)


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


def _batch(part: pl.DataFrame, device: torch.device | str) -> PairBatch:
    def tensor(column: str) -> Tensor:
        return torch.tensor(part[column].to_list(), dtype=torch.long, device=device)

    return PairBatch(
        clean=tensor("clean_ids"),
        corrupted=tensor("corrupted_ids"),
        answer=tensor("answer_id"),
        wrong_answer=tensor("wrong_answer_id"),
    )
