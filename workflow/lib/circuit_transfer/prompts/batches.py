"""Tokenized pairs as tensors, in batches of equal length."""

import logging
from dataclasses import dataclass, replace
from typing import Self

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.interventions import (
    Prefix,
    answer_logits,
    captured,
    run_prefix,
)
from circuit_transfer.models.architectures import node_sites

log = logging.getLogger(__name__)

# How much one pass of several circuits may hold: numbers that the nodes write (few
# prompts leave a processor waiting, too many leave its cache), and logits.
ACTIVATIONS = {"cpu": 2**20, "cuda": 2**28}
LOGITS = 2**24
NO_MEMORY = "can't allocate memory"


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

    def following(self, prefix: Prefix | None, length: int) -> Self:
        """Return the pairs without their first positions, and how these were run."""
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


def fitting_batches(
    model: nn.Module, pairs: pl.DataFrame, batch_size: int | str
) -> list[PairBatch]:
    """Cut a frame of tokenized pairs into batches that a model can run, on its device.

    Args:
        model: a causal language model with frozen parameters.
        pairs: the frame.
        batch_size: pairs in a batch, or `auto`: see `fitting_batch_size`.
    """
    if batch_size == "auto":
        batch_size = fitting_batch_size(model, pairs)
    return pair_batches(pairs, batch_size, model.device)


def fitting_batch_size(model: nn.Module, pairs: pl.DataFrame) -> int:
    """Find the largest batch that fits, by trying, and say what it is.

    Tried are the longest prompts, forwards and backwards, twice as many as there will
    be: a stage holds up to twice what a bare pass does. More than all prompts of one
    length are of no use, nor on a CPU more than suit it, see `rows_per_pass`.

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
                f"no memory for two prompts of {longest.clean.shape[1]} tokens, there "
                "and back: use a larger device, or a dtype of half the size"
            )
        size //= 2
    log.info("batch_size auto: %d pairs in a pass", size)
    return size


def _fits(model: nn.Module, batch: PairBatch) -> bool:
    try:
        embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
        with captured(model) as sites:
            logits = answer_logits(model, embeddings=embeddings)
        torch.autograd.grad(batch.logit_diff(logits).sum(), sites)
    except RuntimeError as error:
        # On a CPU it has no class of its own.
        if not isinstance(error, torch.OutOfMemoryError) and NO_MEMORY not in str(
            error
        ):
            raise
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        return False
    return True


def shortened(model: nn.Module, batch: PairBatch, length: int) -> PairBatch:
    """Run the first positions of a batch's pairs, and leave the rest.

    Args:
        model: the model that will run the rest.
        batch: pairs that begin there, none of which is corrupted before `length`.
        length: how many positions to run; see `PairBatch.shared`.
    """
    if not length:
        return batch
    return batch.following(run_prefix(model, batch.clean[:, :length]), length)


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
