"""Prepared batches: the clean and ablated runs that every training step needs again.

Training a mask runs the same pairs in every epoch. The full model's answer and the
outputs that a mask mixes are computed once and cached, as far as memory allows.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.interventions import answer_logits, run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import PairBatch

log = logging.getLogger(__name__)

# How much the cached batches of a job may take, on the model's device and on its host.
CACHE_BYTES, HOST_CACHE_BYTES = 8 * 2**30, 32 * 2**30


@dataclass(frozen=True)
class Prepared:
    """One batch of a task with what every training step needs of it.

    The clean and corrupted runs are the same in every step of every fit: the answer
    logits of the `full` and the `empty` circuit, and the outputs of every site. By the
    counterfactual ablation `empty` is the corrupted run, which is the empty circuit's
    where both prompts end with the same token.

    Attributes:
        task: its name.
        batch: the pairs, without the tokens that precede the first corrupted one.
        full: `(batch, vocabulary)`.
        empty: `(batch, vocabulary)`.
        clean: outputs by site, on the positions of `batch`; empty where not needed.
        corrupted: outputs by site; under another ablation, those that replace them.
    """

    task: str
    batch: PairBatch
    full: Tensor
    empty: Tensor
    clean: Sequence[Tensor]
    corrupted: Sequence[Tensor]

    def bytes(self) -> int:
        """Return how much memory it takes."""
        prefix = self.batch.prefix.tensors() if self.batch.prefix else []
        held = [self.full, self.empty, *self.clean, *self.corrupted, *prefix]
        return sum(each.nbytes for each in held)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with all tensors moved, as to another device."""
        prefix = self.batch.prefix
        return replace(
            self,
            batch=replace(self.batch, prefix=prefix and prefix.moved(move)),
            full=move(self.full),
            empty=move(self.empty),
            clean=[move(each) for each in self.clean],
            corrupted=[move(each) for each in self.corrupted],
        )


class Cacheable(Protocol):
    """What `Cached` holds: a prepared batch, with the full and the empty circuit."""

    batch: PairBatch
    full: Tensor
    empty: Tensor

    def bytes(self) -> int:
        """Return how much memory it takes."""

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with all tensors moved but the token ids."""


Batch = TypeVar("Batch", bound=Cacheable)


class Cached(Sequence[Batch]):
    """Batches that are prepared once as far as the memory allows.

    Batches that do not fit on the model's device are cached on the host, and those that
    do not fit there either are prepared again each time that they are used.
    """

    def __init__(self, pending: Sequence[Callable[[], Batch]]):
        """Take how to prepare every batch."""
        self._pending = pending
        self._on_device: dict[int, Batch] = {}
        self._on_host: dict[int, Batch] = {}

    def fill_cache(self, budget: int, host_budget: int = 0) -> None:
        """Prepare the first batches now and cache them.

        Args:
            budget: bytes that they may take on the model's device.
            host_budget: bytes that those which follow may take on the host.
        """
        held = 0
        for index in progress(range(len(self)), len(self), "preparing batch"):
            prepared = self._pending[index]()
            held += prepared.bytes()
            if held <= budget:
                self._on_device[index] = prepared
            elif held <= budget + host_budget:
                self._on_host[index] = prepared.moved(_to_host)
            else:
                log.info(
                    "%d of %d prepared batches fit into %.1f GB and are cached; "
                    "the others are prepared again in every epoch",
                    *(index, len(self), (budget + host_budget) / 1e9),
                )
                return

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._pending)

    def __getitem__(self, index: int) -> Batch:
        """Return a batch, prepared."""
        if index in self._on_device:
            return self._on_device[index]
        if index in self._on_host:
            cached = self._on_host[index]
            device = cached.batch.clean.device
            return cached.moved(lambda each: each.to(device, non_blocking=True))
        return self._pending[index]()


class Preparations(Cached[Batch]):
    """The prepared batches of several tasks.

    Attributes:
        tasks: the task of every batch.
        rests: of every batch the pairs that a step will run.
    """

    def __init__(
        self,
        pending: Sequence[Callable[[], Batch]],
        tasks: Sequence[str],
        rests: Sequence[PairBatch],
    ):
        """Take how to prepare every batch, its task, and the pairs a step will run."""
        super().__init__(pending)
        self.tasks, self.rests = tuple(tasks), tuple(rests)


def prepare(
    model: nn.Module,
    batches: Mapping[str, Sequence[PairBatch]],
    ablation: str = "counterfactual",
    *,
    intervention: str | None = None,
    budget: int = CACHE_BYTES,
) -> Preparations[Prepared]:
    """Run every task's batches clean and corrupted, once for all fits.

    Another ablation's outputs replace the corrupted activations; the mean is that of
    the task's own batches. The intervention `release`, which starts from the corrupted
    prompts, does not use them.

    Args:
        model: the model that masks are trained on.
        batches: by task.
        ablation: see `ablations`.
        intervention: the only one that will be used, see `masked_runs.masked_logits`:
            outputs that it does not need are not stored.
        budget: bytes that the cache may take on the model's device; on the host of a
            GPU it may take `HOST_CACHE_BYTES` more.

    Raises:
        ValueError: the ablation is unknown.
    """
    pending, tasks, rests = [], [], []
    for task, parts in batches.items():
        ablated = ablation_of(model, parts, ablation)
        settings = (ablated, task, intervention != "circuit")
        pending += [partial(_prepared, model, batch, *settings) for batch in parts]
        tasks += [task] * len(parts)
        rests += [batch.following(None, ablated.shared(batch)) for batch in parts]
    prepared = Preparations(pending, tasks, rests)
    prepared.fill_cache(budget, host_budget(model))
    return prepared


def host_budget(model: nn.Module) -> int:
    """Return how many bytes the batches of a model on a GPU may take on its host."""
    return HOST_CACHE_BYTES if model.device.type == "cuda" else 0


# Not in inference mode: these tensors enter the graph of a training step.
@torch.no_grad()
def _prepared(
    model: nn.Module, batch: PairBatch, ablated: Ablation, task: str, with_clean: bool
) -> Prepared:
    batch = ablated.shorten(batch)
    if with_clean:
        full, clean = run_captured(model, batch.clean, batch.prefix)
    else:
        full, clean = answer_logits(model, batch.clean, after=batch.prefix), []
    empty, corrupted = ablated.run(batch)
    return Prepared(task, batch, full, empty, clean, corrupted)


def _to_host(tensor: Tensor) -> Tensor:
    # A GPU can copy only from pinned memory while it computes.
    return tensor.cpu().pin_memory() if tensor.is_cuda else tensor.cpu()
