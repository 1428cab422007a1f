"""Learn a matrix that carries node scores of a source model into a target model.

Differentiable Faithfulness Alignment (arXiv 2604.24302, Section 3): the projected
scores `s @ W` of a task become a mask over the target's nodes, and `W` is trained so
that the masked target is as faithful as can be; see `objectives`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.controls import control_sources
from circuit_transfer.job import progress
from circuit_transfer.maps import TRAINED_MAPS
from circuit_transfer.objectives import (
    FitSettings,
    Prepared,
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


def fit(
    model: nn.Module,
    prepared: Sequence[Prepared],
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    *,
    n_target: int,
    seed: int,
    prior: np.ndarray | None = None,
) -> Fit:
    """Train a map on the prepared batches of its training tasks.

    One optimiser step per batch; the seed decides the start and the order of batches.
    Without a prior the matrix starts at random, near zero. With one it starts there,
    is held near it by a penalty, and has a bias that is held near zero.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without an entry in `sources` are unused.
        sources: transformed score vector `(n_source,)` of every training task.
        settings: how to train.
        n_target: number of nodes of the target.
        seed: of the initial matrix and the order of batches.
        prior: `(n_source, n_target)`; see `maps.node_prior`.
    """
    batches = [each for each in prepared if each.task in sources]
    n_source = next(iter(sources.values())).shape[0]
    device = batches[0].full.device
    vectors = {t: torch.from_numpy(each).to(device) for t, each in sources.items()}
    start = initial_alignment(n_source, n_target, seed, settings.initial_scale)
    anchor = torch.zeros(n_source, n_target, device=device)
    if prior is not None:
        anchor = _scaled_prior(prior, vectors, settings.prior_scale)
    initial = start.to(device) + anchor
    offsets = {task: (each @ anchor).mean() for task, each in vectors.items()}
    alignment = initial.clone().requires_grad_()
    bias = torch.zeros(n_target, device=device, requires_grad=prior is not None)
    learned = [alignment] if prior is None else [alignment, bias]
    optimiser = torch.optim.Adam(learned, lr=settings.learning_rate)
    steps = settings.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, steps)
    curve = []
    order = _order(len(batches), settings.epochs, seed)
    sizes = _drawn_sizes(settings, n_target, seed)
    for index in progress(order, steps, f"fit with seed {seed}, steps"):
        each = batches[index]
        projected = vectors[each.task] @ alignment + bias - offsets[each.task]
        if settings.objective == "area":
            mask = soft_circuit(projected, next(sizes), _softness(len(curve) / steps))
            loss, divergence = area_loss(model, each, mask, settings)
        else:
            mask = torch.sigmoid(projected)
            loss, divergence = alignment_loss(model, each, mask, settings)
        if prior is not None:
            distance = (alignment - anchor).square().sum() + bias.square().sum()
            loss = loss + settings.prior_penalty * distance
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append((loss.detach(), divergence.detach()))
    loss, kl = (torch.stack(column).cpu() for column in zip(*curve, strict=True))
    return Fit(
        alignment.detach().cpu(),
        initial.cpu(),
        loss,
        kl,
        bias=None if prior is None else bias.detach().cpu(),
    )


def fit_map(
    model: nn.Module,
    prepared: Sequence[Prepared],
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    *,
    name: str,
    control: str,
    shape: tuple[int, int],
    seed: int,
    prior: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Fit one map, or one of its trained controls, and return its tensors.

    Arguments as in `fit`, with the name of the map, that of the control (`none` for the
    map itself) and the shape `(n_source, n_target)`. An untrained map is its prior.
    Without any training task a map is NaN, and so is one whose prior is not known. Of a
    control there is no `initial`.
    """
    if not sources or (prior is None and name != "free"):
        why = "prompts that both models have" if sources else "usable pairs"
        log.warning("no training task has %s: %s is unknown", why, name)
        unknown = np.full(shape, np.nan, np.float32)
        return {"alignment": unknown, "initial": unknown}
    if name not in TRAINED_MAPS:
        return {"alignment": prior}
    if control != "none":
        sources = control_sources(control, sources, seed=seed)
    tensors = fit(
        model, prepared, sources, settings, n_target=shape[1], seed=seed, prior=prior
    ).tensors()
    if control != "none":
        # A control starts where its map does.
        del tensors["initial"]
    return tensors


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
