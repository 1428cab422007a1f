"""A map while it is trained: its parameters, where they start, and what they give.

A map projects a task's source scores `s` to scores of the target's nodes: `s @ W`, and
with a prior `s @ W + b`, centred. See `maps` for the kinds of maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.transfer.objectives import FitSettings


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


class Fitted:
    """A trained map and how the training went, whatever its tensors are."""

    def tensors(self) -> dict[str, np.ndarray]:
        """Return those that there are as named arrays, for an artefact."""
        return {k: each.numpy() for k, each in vars(self).items() if each is not None}


@dataclass(frozen=True)
class Fit(Fitted):
    """A trained map and how the training went.

    Attributes:
        alignment: float32 `(n_source, n_target)`.
        initial: the same before training.
        loss: `(steps,)`, divergence, sparsity term and penalty.
        kl: `(steps,)`, the divergence alone, in nats.
        bias: float32 `(n_target,)`, or None for a map without one.
        open_share: `(tasks,)`, the share of the target's nodes that the mask of every
            training task keeps in the end (more than half open); None by the area
            objective, whose masks have a given size.
    """

    alignment: Tensor
    initial: Tensor
    loss: Tensor
    kl: Tensor
    bias: Tensor | None = None
    open_share: Tensor | None = None


def initial_alignment(
    n_source: int, n_target: int, seed: int, scale: float = 0.02
) -> Tensor:
    """Return the matrix that training starts from, N(0, scale), `(n_source, n_target)`.

    Untrained, it is the paper's random-alignment control.
    """
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n_source, n_target, generator=generator)


class TrainedMap:
    """The parameters of a map, its projection of every training task, its penalty."""

    def __init__(
        self,
        start: Start,
        settings: FitSettings,
        n_target: int,
        seed: int,
        device: torch.device,
    ):
        """Place the map at its start.

        Args:
            start: the scores of its training tasks, and its prior.
            settings: of them, `initial_scale`, `prior_scale` and `objective`.
            n_target: number of nodes of the target.
            seed: of the random start.
            device: where it is trained.
        """
        self.vectors = {
            task: torch.from_numpy(scores).to(device)
            for task, scores in start.sources.items()
        }
        self.seed, n_source = seed, len(next(iter(self.vectors.values())))
        self.has_prior = start.prior is not None
        self.has_free_size = settings.objective != "area"
        self.anchor = torch.zeros(n_source, n_target, device=device)
        if self.has_prior:
            self.anchor = _scaled_prior(start.prior, self.vectors, settings.prior_scale)
        drawn = initial_alignment(n_source, n_target, seed, settings.initial_scale)
        self.initial = drawn.to(device) + self.anchor
        self.offsets = {t: (v @ self.anchor).mean() for t, v in self.vectors.items()}
        self.alignment = self.initial.clone().requires_grad_()
        self.bias = torch.zeros(n_target, device=device, requires_grad=self.has_prior)

    def parameters(self) -> list[Tensor]:
        """Return the tensors that are learned."""
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
        return Fit(
            self.alignment.detach().cpu(),
            self.initial.cpu(),
            loss,
            kl,
            self.bias.detach().cpu() if self.has_prior else None,
            self._open_share().cpu() if self.has_free_size else None,
        )

    @torch.no_grad()
    def _open_share(self) -> Tensor:
        """Return the share of nodes that every task's mask keeps, `(tasks,)`."""
        masks = torch.stack([torch.sigmoid(self.project(t)) for t in self.vectors])
        return (masks > 0.5).float().mean(1)


def _scaled_prior(
    prior: np.ndarray, vectors: Mapping[str, Tensor], scale: float
) -> Tensor:
    """Scale a prior so that its projections spread over the soft mask's range."""
    stacked = torch.stack(list(vectors.values()))
    matrix = torch.from_numpy(prior).to(stacked)
    spread = (stacked @ matrix).std(dim=1, unbiased=False).mean()
    return scale * matrix / spread if spread > 0 else matrix
