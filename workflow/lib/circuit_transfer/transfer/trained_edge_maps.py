"""A map of edge scores while it is trained: `A' S B` and what it is held to.

`S` are a task's scores of the source's edges, `(n_writers, n_readers)`; `A` maps its
writers and `B` its readers. With a prior there are a bias for every writer and one for
every reader, and scores are centred. See `edge_maps` and `trained_maps`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.edge_maps import (
    EdgeMap,
    blocks,
    reader_kinds,
    writer_kinds,
)
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_maps import Fitted


@dataclass(frozen=True)
class EdgeStart:
    """What a map of edges is trained from.

    Attributes:
        sources: transformed scores `(n_edges,)` of every training task.
        seed: of the random start, and of the sizes drawn for the map.
        prior: see `edge_maps.lifted_map`, or None for a map that starts at random.
    """

    sources: Mapping[str, np.ndarray]
    seed: int
    prior: EdgeMap | None = None


@dataclass(frozen=True)
class FittedEdges(Fitted):
    """A trained map of edges and how the training went.

    Attributes:
        writers: float32 `(n_writers, n_writers)`, from the source's to the target's.
        readers: likewise, of readers.
        initial_writers: those before training.
        initial_readers: likewise.
        loss: `(steps,)`, divergence, sparsity term and penalty.
        kl: `(steps,)`, the divergence alone, in nats.
        writer_bias: float32 `(n_writers,)` of the target, or None without a prior.
        reader_bias: likewise, `(n_readers,)`.
        open_share: `(tasks,)`, of the target's edges, as `trained_maps.Fit` has it.
    """

    writers: Tensor
    readers: Tensor
    initial_writers: Tensor
    initial_readers: Tensor
    loss: Tensor
    kl: Tensor
    writer_bias: Tensor | None = None
    reader_bias: Tensor | None = None
    open_share: Tensor | None = None


class TrainedEdgeMap:
    """The parameters of a map, its projection of every training task, its penalty."""

    def __init__(
        self,
        start: EdgeStart,
        settings: FitSettings,
        graphs: tuple[Graph, Graph],
        device: torch.device,
    ):
        """Place the map at its start.

        Args:
            start: the scores of its training tasks, its prior, and its seed.
            settings: of them, `initial_scale`, `prior_scale` and `objective`.
            graphs: the edges of source and target.
            device: where it is trained.
        """
        source, target = graphs
        self.seed, self.has_prior = start.seed, start.prior is not None
        self.has_free_size = settings.objective != "area"
        self.matrices = {
            task: torch.from_numpy(source.matrix(scores, outside=0)).to(device)
            for task, scores in start.sources.items()
        }
        legal = torch.from_numpy(target.legal.T.copy()).flatten()
        self._places = legal.nonzero()[:, 0].to(device)
        self._allowed = [
            torch.from_numpy(blocks(*graphs, kinds)).to(device)
            for kinds in (writer_kinds, reader_kinds)
        ]
        self.anchors = [
            torch.zeros(each.shape, device=device) for each in self._allowed
        ]
        self.offsets = dict.fromkeys(self.matrices, 0.0)
        if self.has_prior:
            self._place_at(start.prior, settings.prior_scale)
        self.initial = [
            (anchor + noise.to(device)).where(allowed, 0.0)
            for anchor, noise, allowed in zip(
                self.anchors, self._noise(settings), self._allowed, strict=True
            )
        ]
        self.factors = [each.clone().requires_grad_() for each in self.initial]
        self.biases = [
            torch.zeros(len(each), device=device, requires_grad=self.has_prior)
            for each in (target.writers, target.readers)
        ]

    def _place_at(self, prior: EdgeMap, scale: float) -> None:
        """Set the anchors, which spread over the soft mask's range, and the centres.

        Each of the two has half of the scale, as a root: a step of the optimiser, which
        is of the same size in both, then means about as much in one as in the other.
        """
        pair = [
            torch.from_numpy(each).to(allowed.device) * allowed
            for each, allowed in zip(
                (prior.writers, prior.readers), self._allowed, strict=True
            )
        ]
        found = torch.stack([self._edges(s, *pair) for s in self.matrices.values()])
        spread = found.std(dim=1, unbiased=False).mean()
        factor = scale / spread if spread > 0 else torch.ones_like(spread)
        self.anchors = [factor.sqrt() * each for each in pair]
        centres = (factor * found).mean(1)
        self.offsets = dict(zip(self.matrices, centres, strict=True))

    def _noise(self, settings: FitSettings) -> list[Tensor]:
        """Return what is added to the anchors at random.

        Near zero, but without a prior for readers of the size 1: if both were near
        zero, so would be the gradient of their product for each.
        """
        generator = torch.Generator().manual_seed(self.seed)
        small = settings.initial_scale
        scales = (small, small if self.has_prior else 1.0)
        return [
            scale * torch.randn(each.shape, generator=generator)
            for scale, each in zip(scales, self._allowed, strict=True)
        ]

    def _edges(self, scores: Tensor, writers: Tensor, readers: Tensor) -> Tensor:
        """Return mapped scores of the target's edges, `(n_edges,)`."""
        return self._flat((scores @ readers).T @ writers)

    def _flat(self, matrix: Tensor) -> Tensor:
        """Return the entries of edges of `(n_readers, n_writers)`, in their order."""
        return matrix.flatten().index_select(0, self._places)

    def parameters(self) -> list[Tensor]:
        """Return the tensors that are learned."""
        return [*self.factors, *self.biases] if self.has_prior else [*self.factors]

    def project(self, task: str) -> Tensor:
        """Return a task's scores on the target, centred by the prior, `(n_edges,)`."""
        pairs = zip(self.factors, self._allowed, strict=True)
        writers, readers = (each * allowed for each, allowed in pairs)
        mapped = (self.matrices[task] @ readers).T @ writers
        if self.has_prior:
            of_writers, of_readers = self.biases
            mapped = mapped + of_readers[:, None] + of_writers
        return self._flat(mapped) - self.offsets[task]

    def penalty(self) -> Tensor:
        """Return the squared distance from the prior; 0 without one."""
        if not self.has_prior:
            return self.factors[0].new_zeros(())
        pairs = zip(self.factors, self.anchors, strict=True)
        far = [(each - anchor).square().sum() for each, anchor in pairs]
        return sum([*far, *(each.square().sum() for each in self.biases)])

    def finished(self, loss: Tensor, kl: Tensor) -> FittedEdges:
        """Return the map as it is now, with its curves `(steps,)`."""
        kept = [*self.factors, *self.initial]
        biases = self.biases if self.has_prior else (None, None)
        return FittedEdges(
            *(each.detach().cpu() for each in kept),
            loss,
            kl,
            *(each if each is None else each.detach().cpu() for each in biases),
            self._open_share().cpu() if self.has_free_size else None,
        )

    @torch.no_grad()
    def _open_share(self) -> Tensor:
        """Return the share of edges that every task's mask keeps, `(tasks,)`."""
        shares = [(self.project(task) > 0).float().mean() for task in self.matrices]
        return torch.stack(shares)
