"""Soft top-k (Matryoshka attribution, arXiv 2609.25518): one ranking for all sizes.

Every step draws sizes of circuits and makes soft circuits of the highest scores, so
that a gradient reaches the scores near the boundary. All sizes train the same ranking.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.masks import (
    SOFTNESS,
    size_weights,
    soft_circuit,
    softness_at,
)
from circuit_transfer.pruning.learned_masks import Setup, trains
from circuit_transfer.pruning.node_circuits import largest_circuits, with_input
from circuit_transfer.pruning.outcomes import LearnedEdges, exact_circuits

EDGES, NODES = "soft-top-k", "node-soft-top-k"
LAST_SOFTNESS = SOFTNESS[1]


class Ranking:
    """Scores of edges, or of nodes, that soft circuits of drawn sizes are made of.

    Attributes:
        setup: what it is made from, with the settings `SoftTopK`.
        scores: of the edges or nodes.

    The others are those of `training.Masks`.
    """

    rate_warmup = 0.0

    def __init__(self, setup: Setup, *, of_nodes: bool = False):
        """Start with scores near zero.

        Args:
            setup: see the attributes.
            of_nodes: whether nodes have the scores.
        """
        self.setup, graph, settings = setup, setup.graph, setup.settings
        self.method, self.settings, self.seed = setup.method, settings, setup.seed
        self.support = np.ones(graph.n_edges, bool)
        self.weight_decay = settings.weight_decay
        self.rate_cooldown = settings.rate_cooldown
        self.gradient_norm = settings.gradient_norm
        self._writers = None
        if of_nodes:
            self._writers = torch.from_numpy(graph.ends[0]).to(setup.device)
        count = len(graph.writers) - 1 if of_nodes else graph.n_edges
        noise = np.random.default_rng([setup.seed, 0]).normal(size=count)
        start = torch.from_numpy((settings.init_spread * noise).astype(np.float32))
        self.scores = start.to(setup.device).requires_grad_()

    def groups(self) -> list[dict[str, Any]]:
        """Return the group of parameters of the optimiser."""
        return [{"params": [self.scores], "lr": self.settings.learning_rate}]

    def draw(self, step: int) -> Tensor:
        """Return soft circuits of the sizes of a step."""
        ends = (self.settings.softness, LAST_SOFTNESS)
        width = softness_at(step / self.settings.steps, ends)
        rows = [soft_circuit(self.scores, n, width) for n in self.sizes(step)]
        masks = torch.stack(rows)
        if self._writers is not None:
            masks = with_input(masks)[:, self._writers]
        return masks

    def penalty(self, step: int) -> Tensor:
        """Return zero: nothing is added to the loss."""
        return self.scores.new_zeros(self.settings.draws)

    def measures(self, step: int) -> dict[str, Tensor]:
        """Return the sizes of a step, as shares."""
        shares = [size / len(self.scores) for size in self.sizes(step)]
        return {"size": self.scores.new_tensor(shares)}

    def remedy(self) -> str:
        """Return which settings to change if the training fails."""
        names = ("learning_rate", "steps", "draws")
        given = (f"{name} ({getattr(self.settings, name):g})" for name in names)
        return f"change pruning.{self.method}: {', '.join(given)}"

    def sizes(self, step: int) -> list[int]:
        """Return the numbers of edges or nodes of the circuits of a step."""
        draws, settings = self.settings.draws, self.settings
        generator = np.random.default_rng([self.seed, 1, step])
        # One in each part of the range, so that no step has only small circuits.
        parts = (np.arange(draws) + generator.random(draws)) / draws
        if settings.drawn == "area":
            weights = size_weights(settings.proportions, len(self.scores))
            ends = np.cumsum(list(weights.values()))
            places = np.searchsorted(ends, parts * ends[-1], side="right")
            return np.array(list(weights))[places].tolist()
        first, last = np.log([min(settings.proportions), max(settings.proportions)])
        shares = np.exp(first + parts * (last - first))
        counts = np.rint(shares * len(self.scores)).clip(1, len(self.scores) - 1)
        return counts.astype(int).tolist()

    def learned(self, curves: Mapping[str, Tensor]) -> LearnedEdges:
        """Return the circuits; ranking and curves are the same for all sizes."""
        sizes, graph = self.setup.sizes, self.setup.graph
        scores = _repeated(self.scores.detach().cpu().numpy(), sizes)
        means = {
            name: _repeated(each.mean(0).numpy(), sizes)
            for name, each in curves.items()
        }
        if self._writers is None:
            kept = exact_circuits(scores, sizes)
            return LearnedEdges(scores, kept, kept.mean(1), means)
        kept = largest_circuits(graph, scores, sizes)
        tensors = {"nodes": scores}
        return LearnedEdges(lifted(graph, scores), kept, kept.mean(1), means, tensors)


@trains(EDGES)
def edge_ranking(setup: Setup) -> Ranking:
    """`soft-top-k`: a score for every edge."""
    return Ranking(setup)


@trains(NODES)
def node_ranking(setup: Setup) -> Ranking:
    """`node-soft-top-k`: a score for every node; circuits as of `node-pruning`."""
    return Ranking(setup, of_nodes=True)


def _repeated(values: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Return values once for every learned size, `(sizes, ...)`."""
    return np.repeat(values[None], len(sizes), 0)
