"""The training loop of maps: several side by side, in the same passes of the target.

Every step takes one prepared batch of one task, projects the task's source scores by
every map, makes masks of them, and follows the gradient of the objective.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice, repeat

import torch
from torch import Tensor, nn

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
from circuit_transfer.prompts.batches import rows_per_pass
from circuit_transfer.transfer.objectives import (
    FitSettings,
    alignment_loss,
    area_loss,
)
from circuit_transfer.transfer.trained_maps import Fit, Start, TrainedMap

log = logging.getLogger(__name__)


def fit(
    model: nn.Module,
    prepared: Preparations,
    starts: Sequence[Start],
    settings: FitSettings,
    *,
    n_target: int,
    seed: int,
    resume: Resume = NO_RESUME,
) -> list[Fit]:
    """Train maps on the prepared batches of their training tasks, side by side.

    One optimiser step per batch; the seed decides the start and the order of batches,
    which is the same for all maps, so that they share passes. They do not influence
    each other. Without a prior a matrix starts at random, near zero. With one it starts
    there, is held near it by a penalty, and has a bias that is held near zero.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without sources are unused.
        starts: of every map, all on the same training tasks.
        settings: how to train.
        n_target: number of nodes of the target.
        seed: of the initial matrices and the order of batches.
        resume: saves the training's progress; several fits under one need different
            seeds.
    """
    used = [i for i, task in enumerate(prepared.tasks) if task in starts[0].sources]
    rests = [prepared.rests[index] for index in used]
    together = max(1, min(rows_per_pass(model, each) // len(each) for each in rests))
    steps = settings.epochs * len(used)
    found = []
    firsts = range(0, len(starts), together)
    for at in progress(firsts, len(firsts), "group of maps"):
        part = starts[at : at + together]
        maps = [
            TrainedMap(each, settings, n_target, seed, model.device) for each in part
        ]
        training = Training(maps, settings, steps, f"fit with seed {seed}")
        state = resume.restore(f"fits/seed-{seed}/maps-{at}", training.state)
        if state is not None:
            training.resume(state)
        plan = islice(_plan(used, settings, n_target, seed), training.done, None)
        _train(model, prepared, training, plan, settings, resume)
        found += training.finished()
    return found


def _train(
    model: nn.Module,
    prepared: Preparations,
    training: "Training",
    plan: Iterator[tuple[int, int | None]],
    settings: FitSettings,
    resume: Resume,
) -> None:
    """Take the remaining steps, all maps in the same passes."""
    for index, size in progress(plan, training.steps, "step", done=training.done):
        each = prepared[index]
        projected = training.project(each.task)
        if size is not None:
            width = softness_at(training.done / training.steps)
            rows = [soft_circuit(row, size, width) for row in projected]
            loss, divergence = area_loss(model, each, torch.stack(rows), settings)
        else:
            mask = torch.sigmoid(projected)
            loss, divergence = alignment_loss(model, each, mask, settings)
        training.step(loss, divergence, settings.prior_penalty)
        resume.save()


class Training:
    """Maps that are trained side by side: optimiser, schedule, and curves so far."""

    def __init__(
        self, maps: Sequence[TrainedMap], settings: FitSettings, steps: int, name: str
    ):
        """Prepare the training of maps for so many steps; the name is for the log."""
        self.maps, self.steps, self.name = maps, steps, name
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

    def project(self, task: str) -> Tensor:
        """Return a task's scores on the target by every map, `(maps, n_target)`."""
        return torch.stack([trained.project(task) for trained in self.maps])

    def step(self, loss: Tensor, divergence: Tensor, prior_penalty: float) -> None:
        """Learn from the loss `(maps,)`, to which the penalties are added."""
        penalties = torch.stack([trained.penalty() for trained in self.maps])
        loss = loss + prior_penalty * penalties
        self.optimiser.zero_grad()
        loss.sum().backward()
        self.optimiser.step()
        self.schedule.step()
        self.curve.append((loss.detach(), divergence.detach()))

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

    def finished(self) -> list[Fit]:
        """Return the maps as they are now, with their curves."""
        curves = (column.T.cpu() for column in self._curves())
        return [
            trained.finished(loss, kl)
            for trained, loss, kl in zip(self.maps, *curves, strict=True)
        ]

    def _curves(self) -> tuple[Tensor, ...]:
        """Return the losses and divergences of all steps, `(steps, maps)` each."""
        return tuple(map(torch.stack, zip(*self.curve, strict=True)))


def _plan(
    used: Sequence[int], settings: FitSettings, n_target: int, seed: int
) -> Iterator[tuple[int, int | None]]:
    """Yield the batch of every step, and the size of its circuits for the area."""
    order = _order(len(used), settings.epochs, seed)
    sizes = repeat(None)
    if settings.objective == "area":
        sizes = drawn_sizes(size_weights(settings.proportions, n_target), seed)
    return ((used[index], size) for index, size in zip(order, sizes, strict=False))


def _order(n_batches: int, epochs: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield from torch.randperm(n_batches, generator=generator).tolist()
