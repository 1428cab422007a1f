"""The training loop of maps: several side by side, in the same passes of the target.

Every step takes one prepared batch of one task, projects the task's source scores by
every map, makes masks of them, and follows the gradient of the objective. What a mask
is over, nodes or edges, and how it runs is the target's.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any, Protocol

import torch
from torch import Tensor

from circuit_transfer.circuits.masks import (
    drawn_sizes,
    size_weights,
    soft_circuit,
    softness_at,
)
from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import (
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)
from circuit_transfer.transfer.objectives import (
    FitSettings,
    Run,
    alignment_loss,
    area_loss,
)

log = logging.getLogger(__name__)


class Learned(Protocol):
    """A map while it is trained.

    Attributes:
        seed: of its start, and of the sizes drawn for it.
    """

    seed: int

    def parameters(self) -> list[Tensor]:
        """Return the tensors that are learned."""

    def project(self, task: str) -> Tensor:
        """Return a task's scores on the target, `(n_target,)`."""

    def penalty(self) -> Tensor:
        """Return the squared distance from the prior, a scalar; 0 without one."""

    def finished(self, loss: Tensor, kl: Tensor) -> Any:
        """Return the map as it is now, with its curves `(steps,)`."""


@dataclass(frozen=True)
class Target:
    """What masks are trained on.

    Attributes:
        prepared: the batches.
        n_target: the nodes or edges that a mask is over.
        run: see `objectives.Run`.
        at_once: returns how many masks run side by side on a prepared batch.
    """

    prepared: Preparations
    n_target: int
    run: Run
    at_once: Callable[[Any], int]


def train_maps(
    target: Target,
    maps: Sequence[Learned],
    tasks: Collection[str],
    settings: FitSettings,
    *,
    seed: int,
    name: str,
    resume: Resume = NO_RESUME,
) -> list[Any]:
    """Train maps on the prepared batches of their tasks; return what each has become.

    One optimiser step per batch. The order of batches is the same for all maps, so that
    they share passes. They do not influence each other.

    Args:
        target: what masks are trained on.
        maps: where they start.
        tasks: those that are trained on; batches of others are unused.
        settings: how to train.
        seed: of the order of batches.
        name: of the training, in the log and in what is saved.
        resume: saves the training's progress; several trainings under one need
            different names.
    """
    used = [i for i, task in enumerate(target.prepared.tasks) if task in tasks]
    training = Training(maps, settings, settings.epochs * len(used), name)
    state = resume.restore(name, training.state)
    if state is not None:
        training.resume(state)
    order = _order(used, settings.epochs, seed)
    plan = zip(order, _sizes(maps, settings, target.n_target), strict=False)
    left = islice(plan, training.done, None)
    for index, sizes in progress(left, training.steps, "step", done=training.done):
        training.step(target, index, sizes)
        resume.save()
    return training.finished()


class Training:
    """Maps that are trained side by side: optimiser, schedule, and curves so far."""

    def __init__(
        self, maps: Sequence[Learned], settings: FitSettings, steps: int, name: str
    ):
        """Prepare the training of maps for so many steps; the name is for the log."""
        self.maps, self.settings, self.steps, self.name = maps, settings, steps, name
        self.learned = [each for trained in maps for each in trained.parameters()]
        self.optimiser = torch.optim.Adam(self.learned, lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LinearLR(
            self.optimiser, 1.0, 0.1, steps
        )
        self.curve: list[tuple[Tensor, Tensor]] = []

    @property
    def done(self) -> int:
        """The number of steps taken."""
        return len(self.curve)

    def step(
        self, target: Target, index: int, sizes: Sequence[int] | None = None
    ) -> None:
        """Take one step on one batch.

        Args:
            target: what masks are trained on.
            index: of the batch.
            sizes: of every map's circuit, for the area.
        """
        each, task = target.prepared[index], target.prepared.tasks[index]
        masks = self._masks(task, sizes)
        # Each pass ends here, so that no two of them are in memory at once.
        given, measured = masks.detach().requires_grad_(), []
        for rows in given.split(target.at_once(each)):
            if sizes is None:
                found = alignment_loss(target.run, each, rows, self.settings)
            else:
                found = area_loss(target.run, each, rows)
            found[0].sum().backward()
            measured.append([one.detach() for one in found])
        loss, divergence = (torch.cat(each) for each in zip(*measured, strict=True))
        penalties = torch.stack([trained.penalty() for trained in self.maps])
        penalties = self.settings.prior_penalty * penalties
        outside = [penalties.sum()] if penalties.requires_grad else []
        self.optimiser.zero_grad()
        torch.autograd.backward([masks, *outside], [given.grad, *[None] * len(outside)])
        self.optimiser.step()
        self.schedule.step()
        self.curve.append((loss + penalties.detach(), divergence))

    def _masks(self, task: str, sizes: Sequence[int] | None) -> Tensor:
        """Return the mask of every map, `(maps, n_target)`."""
        projected = torch.stack([trained.project(task) for trained in self.maps])
        if sizes is None:
            return torch.sigmoid(projected)
        width = softness_at(self.done / self.steps)
        rows = zip(projected, sizes, strict=True)
        return torch.stack([soft_circuit(row, size, width) for row, size in rows])

    def state(self) -> State:
        """Return everything that the next step depends on, and the curves."""
        learned = {f"learned/{i}": each for i, each in enumerate(self.learned)}
        curves = dict(zip(("loss", "kl"), self._curves(), strict=True))
        tensors = learned | optimiser_tensors(self.optimiser) | curves
        rates = [group["lr"] for group in self.optimiser.param_groups]
        return State(tensors, {"rates": rates, "schedule": self.schedule.state_dict()})

    def resume(self, state: State) -> None:
        """Resume from a saved state."""
        for index, each in enumerate(self.learned):
            each.data.copy_(state.tensors[f"learned/{index}"])
        set_optimiser_(self.optimiser, state.tensors)
        groups = self.optimiser.param_groups
        for group, rate in zip(groups, state.notes["rates"], strict=True):
            group["lr"] = rate
        self.schedule.load_state_dict(state.notes["schedule"])
        columns = (state.tensors[kind].to(self.learned[0]) for kind in ("loss", "kl"))
        self.curve = list(zip(*columns, strict=True))
        log.info("%s: resumed after %d of %d steps", self.name, self.done, self.steps)

    def finished(self) -> list[Any]:
        """Return what every map has become, with its curves."""
        curves = (column.T.cpu() for column in self._curves())
        return [
            trained.finished(loss, kl)
            for trained, loss, kl in zip(self.maps, *curves, strict=True)
        ]

    def _curves(self) -> tuple[Tensor, ...]:
        """Return the losses and divergences of all steps, `(steps, maps)` each."""
        return tuple(map(torch.stack, zip(*self.curve, strict=True)))


def _sizes(
    maps: Sequence[Learned], settings: FitSettings, n_target: int
) -> Iterator[list[int] | None]:
    """Yield the size of every map's circuit in every step; None but for the area."""
    if settings.objective != "area":
        yield from repeat(None)
    weights = size_weights(settings.proportions, n_target)
    draws = {each.seed: drawn_sizes(weights, each.seed) for each in maps}
    while True:
        drawn = {seed: next(sizes) for seed, sizes in draws.items()}
        yield [drawn[each.seed] for each in maps]


def _order(used: Sequence[int], epochs: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(used), generator=generator)
        yield from (used[index] for index in order.tolist())
