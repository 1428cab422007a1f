"""Tokenized pairs as tensors, in batches of prompts of one length."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.interventions import (
    Prefix,
    answer_logits,
    captured,
    reusable_prefix,
    run_prefix,
)
from circuit_transfer.models.architectures import node_sites

log = logging.getLogger(__name__)

# Limits of one pass with several circuits: values of node outputs (a CPU is idle with
# few prompts, and too many exceed its cache), and logits.
ACTIVATIONS = {"cpu": 2**20, "cuda": 2**28}
LOGITS = 2**24
NO_MEMORY = "can't allocate memory"


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one prompt length.

    Attributes:
        clean: token ids `(batch, position)`.
        corrupted: token ids `(batch, position)`.
        answers: token ids of the right answers to the clean prompt, `(batch, answers)`,
            padded with -1.
        wrong_answers: token ids of the wrong ones, `(batch, wrong answers)`, likewise.
        prefix: cache of the preceding positions; None if the prompts begin here.
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
        """Return the batch repeated `times` times."""
        names = ("clean", "corrupted", "answers", "wrong_answers")
        parts = {name: getattr(self, name).repeat(times, 1) for name in names}
        return replace(self, **parts)

    def shared(self) -> int:
        """Return the length of the prefix that clean and corrupted prompts share.

        In a causal model, the activations of both runs are equal there. Whether they
        may be cached, `cacheable` tells.
        """
        return int((self.clean != self.corrupted).any(0).int().argmax())

    def following(self, prefix: Prefix | None, length: int) -> Self:
        """Return the pairs without their first `length` positions, which are cached."""
        rest = {
            "clean": self.clean[:, length:],
            "corrupted": self.corrupted[:, length:],
        }
        return replace(self, **rest, prefix=prefix)

    def logit_diff(self, logits: Tensor) -> Tensor:
        """Return the logit differences `(batch,)` of logits `(batch, vocabulary)`.

        The mean logit of the right answers minus the mean logit of the wrong ones
        (DFA, arXiv 2604.24302, Section 3).
        """
        right = _mean_logit(logits, self.answers)
        return right - _mean_logit(logits, self.wrong_answers)

    def correct(self, logits: Tensor) -> Tensor:
        """Return whether the most likely token is a right answer, `(batch,)`."""
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
    """Split a frame of tokenized pairs into batches of prompts of one length.

    No prompt is padded. Batches are in order of length, their rows in order of the
    frame.

    Args:
        pairs: the frame.
        batch_size: largest number of pairs in a batch.
        device: device of the tensors.
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


def prompt_numbers(batches: Sequence[PairBatch]) -> list[int]:
    """Return the number of every example's pair of prompts, from 0, in order.

    Examples with the same clean and the same corrupted prompt have the same number.
    """
    numbers: dict[tuple, int] = {}
    return [
        numbers.setdefault((tuple(clean), tuple(corrupted)), len(numbers))
        for batch in batches
        for clean, corrupted in zip(
            batch.clean.tolist(), batch.corrupted.tolist(), strict=True
        )
    ]


def fitting_batches(
    model: nn.Module, pairs: pl.DataFrame, batch_size: int | str
) -> list[PairBatch]:
    """Split a frame of tokenized pairs into batches that fit a model's memory.

    The batches are on the device of the model.

    Args:
        model: a causal language model with frozen parameters.
        pairs: the frame.
        batch_size: pairs in a batch, or `auto`, see `fitting_batch_size`.
    """
    if batch_size == "auto":
        batch_size = fitting_batch_size(model, pairs)
    return pair_batches(pairs, batch_size, model.device)


def fitting_batch_size(model: nn.Module, pairs: pl.DataFrame) -> int:
    """Return and log the largest batch size that fits into memory, found by trial.

    A trial is a forward and backward pass of the longest prompts with twice the batch
    size, since a stage needs up to twice the memory of a bare pass. The size is
    limited to the number of prompts of one length and, on a CPU, by `rows_per_pass`.

    Raises:
        torch.OutOfMemoryError: not even one pair fits.
    """
    if pairs.is_empty():
        return 1
    lengths = pairs["clean_ids"].list.len()
    longest = _batch(pairs.filter(lengths == lengths.max()).head(1), model.device)
    size = int(lengths.value_counts()["count"].max())
    if model.device.type == "cpu":
        size = min(size, max(1, rows_per_pass(model, longest)))
    while not _fits(model, longest.repeat(2 * size)):
        if size == 1:
            raise torch.OutOfMemoryError(
                "out of memory in the forward and backward pass of two prompts of "
                f"{longest.clean.shape[1]} tokens: use a larger device, or a dtype of "
                "half the size"
            )
        size //= 2
    log.info("batch_size auto: %d pairs", size)
    return size


def _fits(model: nn.Module, batch: PairBatch) -> bool:
    try:
        embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
        with captured(model) as sites:
            logits = answer_logits(model, embeddings=embeddings)
        torch.autograd.grad(batch.logit_diff(logits).sum(), sites)
    except RuntimeError as error:
        # On a CPU, running out of memory has no exception type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and NO_MEMORY not in str(
            error
        ):
            raise
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        return False
    return True


def cacheable(model: nn.Module, batch: PairBatch, length: int) -> int:
    """Return how many of the first `length` positions may be cached: all or none.

    None if the model treats them differently in a shorter prompt.
    """
    return reusable_prefix(model, batch.clean.shape[1], length)


def shortened(model: nn.Module, batch: PairBatch, length: int) -> PairBatch:
    """Run and cache the first positions of a batch; return the batch without them.

    Args:
        model: the model that will run the remaining positions.
        batch: pairs whose prompts are equal before position `length`.
        length: number of positions to cache, see `cacheable`; at most
            `PairBatch.shared`.
    """
    if not length:
        return batch
    return batch.following(run_prefix(model, batch.clean[:, :length]), length)


def rows_per_pass(model: nn.Module, batch: PairBatch) -> int:
    """Return the number of prompts of a batch's length that suits one pass."""
    config, positions = model.config, batch.clean.shape[1]
    outputs = len(node_sites(model)) * config.hidden_size * positions
    limit = ACTIVATIONS.get(model.device.type, ACTIVATIONS["cpu"])
    return min(limit // outputs, LOGITS // config.vocab_size)


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
