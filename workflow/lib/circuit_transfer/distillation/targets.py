"""Compare heads of a student, while it is trained, with those of its teacher.

CKA needs many rows, more than there are in a batch: a queue keeps those of former
batches, which have no gradient.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.distillation.activations import head_features, run_heads
from circuit_transfer.distillation.cka import cka
from circuit_transfer.distillation.settings import (
    LEAST_FEATURES,
    DistillationSettings,
)
from circuit_transfer.distillation.variants import Pair
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.statistics import generator

log = logging.getLogger(__name__)


class Targets:
    """The similarity of pairs of heads on every batch, with a gradient in the student.

    Attributes:
        pairs: names of heads of the student and of the teacher.
        queue: the features of former batches.
    """

    def __init__(
        self,
        teacher: nn.Module,
        batches: Sequence[PairBatch],
        pairs: Sequence[Pair],
        settings: DistillationSettings,
        shuffling: int | None = None,
    ) -> None:
        """Run the teacher on all batches.

        Args:
            teacher: a causal language model.
            batches: its prompts.
            pairs: names of heads of the student and of the teacher.
            settings: of them, `estimator`, `queue` and `positions`.
            shuffling: seed of an order of the teacher's features that is another one in
                every epoch; None to leave them as they are.
        """
        self.pairs, self.queue = pairs, Queue(settings.queue)
        self._students, teachers = zip(*pairs, strict=True)
        self._settings, self._shuffling = settings, shuffling
        runs = run_heads(teacher, batches, teachers, settings.positions)
        # On the host: those of long prompts at all positions are large.
        self._taught = [features.cpu() for _, features in runs]
        self._of_epoch = -1, self._taught
        self._check_rows([each.shape[1] for each in self._taught])

    def _check_rows(self, rows: Sequence[int]) -> None:
        if not self._settings.queue and min(rows) < 2:
            raise ValueError(
                "a batch of one pair has no CKA: expected another "
                f"distillation.batch_size than {self._settings.batch_size}, or a "
                "distillation.queue above 0"
            )
        if self._settings.queue and sum(rows) < LEAST_FEATURES:
            log.warning(
                "CKA is taken over %d features, all that there are; it is noisy below "
                "%d: use more pairs",
                sum(rows),
                LEAST_FEATURES,
            )

    def similarities(
        self, sites: Sequence[Tensor], number: int, epoch: int
    ) -> tuple[Tensor, int]:
        """Return the CKA of every pair, `(pairs,)`, and over how many rows.

        Args:
            sites: of the student's pass on a batch, see `interventions.captured`.
            number: of the batch.
            epoch: number of the epoch.
        """
        own = head_features(sites, self._students, self._settings.positions)
        other = self._taught_in(epoch)[number].to(own)
        owns, others = self.queue.joined(number, own, other)
        self.queue.add(number, own, other)
        found = cka(owns, others, estimator=self._settings.estimator)
        return found, owns.shape[1]

    def fill(self, student: nn.Module, batches: Sequence[PairBatch]) -> None:
        """Fill the queue before the first step.

        Args:
            student: as it is then.
            batches: its prompts.
        """
        left = iter(range(len(batches)))
        while self.queue.rows < self._settings.queue:
            number = next(left, None)
            if number is None:
                return
            some = batches[number : number + 1]
            how = (self._students, self._settings.positions)
            ((_, own),) = run_heads(student, some, *how)
            self.queue.add(number, own, self._taught_in(0)[number].to(own))

    def _taught_in(self, epoch: int) -> list[Tensor]:
        if self._shuffling is None:
            return self._taught
        if self._of_epoch[0] != epoch:
            self._of_epoch = epoch, shuffled(self._taught, self._shuffling, epoch)
        return self._of_epoch[1]


def shuffled(features: Sequence[Tensor], seed: int, epoch: int) -> list[Tensor]:
    """Return features with their rows exchanged at random, over all batches.

    Every epoch exchanges them in another way, so that they cannot be learned by heart.

    Args:
        features: by batch, `(heads, rows, d_head)`.
        seed: of the order.
        epoch: number of the epoch.
    """
    rows = torch.cat(list(features), dim=1)
    order = generator("shuffled", seed, epoch).permutation(rows.shape[1])
    sizes = [each.shape[1] for each in features]
    return list(rows[:, torch.from_numpy(order)].split(sizes, dim=1))


class Queue:
    """Features of former batches in both models, the latest of every batch.

    An example is in it once at most: CKA would be biased by repeated rows, as it is by
    comparing a row with itself.
    """

    def __init__(self, rows: int) -> None:
        """Make an empty queue that keeps so many rows, and the rest of a batch."""
        self._most = rows
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(own.shape[1] for own, _ in self._kept.values())

    def joined(self, number: int, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of a batch and of all others in the queue.

        Args:
            number: of the batch.
            own: its features in the student, `(heads, rows, d_head)`.
            other: in the teacher, likewise.
        """
        others = [pair for key, pair in self._kept.items() if key != number]
        owns, theirs = zip((own, other), *others, strict=True)
        return torch.cat(owns, dim=1), torch.cat(theirs, dim=1)

    def add(self, number: int, own: Tensor, other: Tensor) -> None:
        """Keep the features of a batch, without gradient, instead of the oldest ones.

        Arguments as in `joined`.
        """
        if not self._most:
            return
        self._kept.pop(number, None)
        self._kept[number] = own.detach(), other.detach()
        while self.rows - self._oldest().shape[1] >= self._most:
            del self._kept[next(iter(self._kept))]

    def _oldest(self) -> Tensor:
        return next(iter(self._kept.values()))[0]

    def tensors(self) -> dict[str, Tensor]:
        """Return the features by name, for `restore`."""
        return dict(self._named())

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for place, (number, pair) in enumerate(self._kept.items()):
            for model, features in zip(("student", "teacher"), pair, strict=True):
                yield f"queue/{place:06d}/{number}/{model}", features

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore the features from what `tensors` has returned, among others."""
        found: dict[int, tuple[Tensor, ...]] = {}
        for name in sorted(tensors):
            kind, *rest = name.split("/")
            if kind == "queue":
                number = int(rest[1])
                found[number] = (*found.get(number, ()), tensors[name].to(device))
        self._kept = found
