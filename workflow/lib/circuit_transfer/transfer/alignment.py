"""Learn a matrix that carries node scores of a source model into a target model.

Differentiable Faithfulness Alignment (arXiv 2604.24302, Section 3): the projected
scores `s @ W` of a task become a mask over the target's nodes, and `W` is trained so
that the masked target is as faithful as can be; see `objectives`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.jobs.job import progress
from circuit_transfer.jobs.resume import (
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)
from circuit_transfer.prompts.batches import rows_per_pass
from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.maps import TRAINED_MAPS
from circuit_transfer.transfer.objectives import (
    FitSettings,
    Preparations,
    alignment_loss,
    area_loss,
    size_weights,
    soft_circuit,
)

log = logging.getLogger(__name__)

# Of the area objective: how soft the edge between inside and outside is at first and at
# last, in standard deviations of the scores.
SOFTNESS = (0.5, 0.1)


@dataclass(frozen=True)
class Fit:
    """A trained map and how the training went.

    Attributes:
        alignment: float32 `(n_source, n_target)`.
        initial: the same before training.
        loss: `(steps,)`, divergence, sparsity term and penalty.
        kl: `(steps,)`, the divergence alone, in nats.
        bias: float32 `(n_target,)`, or None for a map without one.
    """

    alignment: Tensor
    initial: Tensor
    loss: Tensor
    kl: Tensor
    bias: Tensor | None = None

    def tensors(self) -> dict[str, np.ndarray]:
        """Return them as named arrays, for `artifacts.write_alignment`."""
        return {k: each.numpy() for k, each in vars(self).items() if each is not None}


def initial_alignment(
    n_source: int, n_target: int, seed: int, scale: float = 0.02
) -> Tensor:
    """Return the matrix that training starts from, N(0, scale), `(n_source, n_target)`.

    Untrained, it is the paper's random-alignment control.
    """
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n_source, n_target, generator=generator)


@dataclass(frozen=True)
class Start:
    """What a map is trained from.

    Attributes:
        sources: transformed score vector `(n_source,)` of every training task.
        prior: `(n_source, n_target)`, see `maps.node_prior`, or None for a map that
            starts at random, near zero.
    """

    sources: Mapping[str, np.ndarray]
    prior: np.ndarray | None = None


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
    which is the same for all, so that they share passes. None knows of the others.
    Without a prior a matrix starts at random, near zero. With one it starts there,
    is held near it by a penalty, and has a bias that is held near zero.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without sources are unused.
        starts: of every map, all on the same training tasks.
        settings: how to train.
        n_target: number of nodes of the target.
        seed: of the initial matrices and the order of batches.
        resume: keeps what is trained; the seeds of several fits in one must differ.
    """
    used = [i for i, task in enumerate(prepared.tasks) if task in starts[0].sources]
    rests = [prepared.rests[index] for index in used]
    together = max(1, min(rows_per_pass(model, each) // len(each) for each in rests))
    steps = settings.epochs * len(used)
    found = []
    for at in range(0, len(starts), together):
        part = starts[at : at + together]
        maps = [_Map(each, settings, n_target, seed, model.device) for each in part]
        training = _Training(maps, settings, steps, f"fit with seed {seed}")
        state = resume.restore(f"fits/seed-{seed}/maps-{at}", training.state)
        if state is not None:
            training.resume(state)
        plan = islice(_plan(used, settings, n_target, seed), training.done, None)
        _train(model, prepared, training, plan, settings, resume)
        found += training.finished()
    return found


def _plan(
    used: Sequence[int], settings: FitSettings, n_target: int, seed: int
) -> Iterator[tuple[int, int | None]]:
    """Yield the batch of every step, and the size of its circuits for the area."""
    order = _order(len(used), settings.epochs, seed)
    by_area = settings.objective == "area"
    sizes = _drawn_sizes(settings, n_target, seed) if by_area else repeat(None)
    return ((used[index], size) for index, size in zip(order, sizes, strict=False))


def _train(
    model: nn.Module,
    prepared: Preparations,
    training: "_Training",
    plan: Iterator[tuple[int, int | None]],
    settings: FitSettings,
    resume: Resume,
) -> None:
    """Take the steps that are left, all maps in the same passes."""
    left = training.steps - training.done
    for index, size in progress(plan, left, f"{training.name}, steps"):
        each = prepared[index]
        projected = training.project(each.task)
        if size is not None:
            softness = _softness(training.done / training.steps)
            rows = [soft_circuit(row, size, softness) for row in projected]
            loss, divergence = area_loss(model, each, torch.stack(rows), settings)
        else:
            mask = torch.sigmoid(projected)
            loss, divergence = alignment_loss(model, each, mask, settings)
        training.step(loss, divergence, settings.prior_penalty)
        resume.save()


class _Training:
    """Maps that are trained side by side, and how far they have come."""

    def __init__(
        self, maps: Sequence["_Map"], settings: FitSettings, steps: int, name: str
    ):
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
        log.info("%s: step %d of %d", self.name, self.done, self.steps)

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


class _Map:
    """A map while it is trained."""

    def __init__(
        self,
        start: Start,
        settings: FitSettings,
        n_target: int,
        seed: int,
        device: torch.device,
    ):
        self.vectors = {
            task: torch.from_numpy(scores).to(device)
            for task, scores in start.sources.items()
        }
        n_source = len(next(iter(self.vectors.values())))
        self.has_prior = start.prior is not None
        self.anchor = torch.zeros(n_source, n_target, device=device)
        if self.has_prior:
            self.anchor = _scaled_prior(start.prior, self.vectors, settings.prior_scale)
        drawn = initial_alignment(n_source, n_target, seed, settings.initial_scale)
        self.initial = drawn.to(device) + self.anchor
        self.offsets = {t: (v @ self.anchor).mean() for t, v in self.vectors.items()}
        self.alignment = self.initial.clone().requires_grad_()
        self.bias = torch.zeros(n_target, device=device, requires_grad=self.has_prior)

    def parameters(self) -> list[Tensor]:
        """Return what is learned."""
        return [self.alignment, self.bias] if self.has_prior else [self.alignment]

    def project(self, task: str) -> Tensor:
        """Return a task's scores on the target, centred by the prior, `(n_target,)`."""
        return self.vectors[task] @ self.alignment + self.bias - self.offsets[task]

    def penalty(self) -> Tensor:
        """Return the squared distance from the prior; 0 without one."""
        if not self.has_prior:
            return torch.zeros((), device=self.alignment.device)
        distance = (self.alignment - self.anchor).square().sum()
        return distance + self.bias.square().sum()

    def finished(self, loss: Tensor, kl: Tensor) -> Fit:
        """Return the map as it is now, with its curves `(steps,)`."""
        bias = self.bias.detach().cpu() if self.has_prior else None
        return Fit(self.alignment.detach().cpu(), self.initial.cpu(), loss, kl, bias)


def fit_maps(
    model: nn.Module,
    prepared: Preparations,
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    asked: Sequence[tuple[str, str]],
    *,
    shape: tuple[int, int],
    seed: int,
    priors: Mapping[str, np.ndarray],
    resume: Resume = NO_RESUME,
) -> list[dict[str, np.ndarray]]:
    """Fit maps and their trained controls, and return the tensors of each.

    An untrained map is its prior. Without any training task a map is NaN, and so is one
    whose prior is not known. Of a control there is no `initial`.

    Args:
        model: as in `fit`.
        prepared: as in `fit`.
        sources: of the real maps, as in `Start`.
        settings: as in `fit`.
        asked: which ones, see `maps.fits`: the name of a map, and that of the control
            that is trained instead (`none` for the map itself).
        shape: `(n_source, n_target)`.
        seed: as in `fit`.
        priors: by map.
        resume: as in `fit`.
    """
    trained = [each for each in asked if is_trained(each[0], sources, priors)]
    starts = [
        Start(
            sources
            if control == "none"
            else control_sources(control, sources, seed=seed),
            priors.get(name),
        )
        for name, control in trained
    ]
    fitted = {}
    if starts:
        fitted_maps = fit(
            model,
            prepared,
            starts,
            settings,
            n_target=shape[1],
            seed=seed,
            resume=resume,
        )
        fitted = dict(zip(trained, fitted_maps, strict=True))
    return [_tensors(each, fitted.get(each), sources, shape, priors) for each in asked]


def is_trained(name: str, sources: Mapping, priors: Mapping) -> bool:
    """Tell whether a map is trained: it has tasks, and a prior if it needs one.

    Arguments as in `fit_maps`.
    """
    known = name == "free" or priors.get(name) is not None
    return name in TRAINED_MAPS and bool(sources) and known


def _tensors(
    asked: tuple[str, str],
    fitted: Fit | None,
    sources: Mapping[str, np.ndarray],
    shape: tuple[int, int],
    priors: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    name, control = asked
    if fitted is not None:
        tensors = fitted.tensors()
        if control != "none":
            # A control starts where its map does.
            del tensors["initial"]
        return tensors
    prior = priors.get(name)
    if sources and prior is not None:
        return {"alignment": prior}
    why = "prompts that both models have" if sources else "usable pairs"
    log.warning("no training task has %s: %s is unknown", why, name)
    unknown = np.full(shape, np.nan, np.float32)
    return {"alignment": unknown, "initial": unknown}


def _scaled_prior(
    prior: np.ndarray, vectors: Mapping[str, Tensor], scale: float
) -> Tensor:
    """Scale a prior so that what it projects spreads the soft mask over its range."""
    stacked = torch.stack(list(vectors.values()))
    matrix = torch.from_numpy(prior).to(stacked)
    spread = (stacked @ matrix).std(dim=1, unbiased=False).mean()
    return scale * matrix / spread if spread > 0 else matrix


def _drawn_sizes(settings: FitSettings, n_nodes: int, seed: int) -> Iterator[int]:
    """Draw a size for every step, the more often the more it counts."""
    weights = size_weights(settings.proportions, n_nodes)
    generator = np.random.default_rng(seed)
    sizes, counts = list(weights), np.array(list(weights.values()))
    while True:
        yield int(generator.choice(sizes, p=counts / counts.sum()))


def _softness(share: float) -> float:
    first, last = SOFTNESS
    return first * (last / first) ** share


def _order(n_batches: int, epochs: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield from torch.randperm(n_batches, generator=generator).tolist()
