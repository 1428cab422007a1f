"""Gates of the edges of a graph, and gates of nodes that all of a node's edges share.

Both are `training.Masks`: a row of gates for every target, which are trained side by
side and do not influence each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.models.edges import Graph
from circuit_transfer.pruning import gates
from circuit_transfer.pruning.constraints import Constraint
from circuit_transfer.pruning.node_circuits import NodePairs, with_input
from circuit_transfer.pruning.settings import EdgePruning


class Gated:
    """Gates that are held at targets for the expected share of open edges.

    Attributes:
        method: name of the method.
        graph: the edges.
        sizes: shares of all edges that may be open in the end.
        settings: how to train.
        seed: of the start and of the noise of the gates.
        support: see `training.Masks`.
        log_alpha: of the gates, `(sizes, gates)`.
        constraints: that of the edges, then others.
    """

    def __init__(
        self,
        method: str,
        graph: Graph,
        sizes: Sequence[float],
        settings: EdgePruning,
        *,
        seed: int,
        device: torch.device,
        support: np.ndarray | None = None,
    ):
        """Take what all kinds of gates have; the arguments are the attributes."""
        self.method, self.graph, self.sizes = method, graph, tuple(sizes)
        self.settings, self.seed, self.device = settings, seed, device
        self.support = np.ones(graph.n_edges, bool) if support is None else support
        self.rate_warmup = settings.rate_warmup
        self.weight_decay = settings.weight_decay
        self.log_alpha = torch.empty(0)
        self.constraints: list[Constraint] = []

    def open_edges(self) -> Tensor:
        """Return the probabilities that edges are open, `(sizes, edges)`."""
        raise NotImplementedError

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters of the optimiser: gates, then multipliers."""
        own = {"params": self.log_alphas(), "lr": self.settings.learning_rate}
        return [own, *(each.group() for each in self.constraints)]

    def log_alphas(self) -> list[Tensor]:
        """Return what is trained besides the multipliers."""
        return [self.log_alpha]

    def penalty(self, step: int) -> Tensor:
        """Return the term of the constraint."""
        return self.constraints[0].penalty(self.expected_share(), step)

    def measures(self, step: int) -> dict[str, Tensor]:
        """Return the expected share of open edges, its target, and the multiplier."""
        edges = self.constraints[0]
        return {
            "open_share": self.expected_share(),
            "target": edges.target(step),
            "multiplier": edges.multipliers[0].clone(),
        }

    def remedy(self) -> str:
        """Return which settings to change if the training fails."""
        names = ("learning_rate", "multiplier_rate", "steps", "init")
        given = (f"{name} ({getattr(self.settings, name):g})" for name in names)
        return f"change pruning.{self.method}: {', '.join(given)}"

    def expected_share(self) -> Tensor:
        """Return the expected share of all edges that are open, `(sizes,)`."""
        return self.open_edges().sum(1) / self.graph.n_edges

    def open_share(self) -> np.ndarray:
        """Return the share of all edges that are more often open than closed."""
        open_now = (self.open_edges() > 0.5).sum(1)
        return open_now.cpu().numpy() / self.graph.n_edges

    def initial(self, count: int, mean: float | np.ndarray | None = None) -> Tensor:
        """Return log alphas at the start, by default about those of the settings."""
        generator = np.random.default_rng([self.seed, 0, count])
        noise = generator.normal(size=(len(self.sizes), count))
        centre = self.settings.init if mean is None else mean
        values = centre + self.settings.init_spread * noise
        found = torch.from_numpy(values.astype(np.float32)).to(self.device)
        return found.requires_grad_()

    def noise(self, step: int) -> np.random.Generator:
        """Return where the noise of a step is drawn from, the same when resumed."""
        return np.random.default_rng([self.seed, 1, step])

    def constraint(self) -> Constraint:
        """Return the constraint of the edges.

        Its targets start at what is open now: what is closed has been pruned already.
        """
        start = self.expected_share().mean().item()
        return Constraint(self.sizes, start, self.settings, self.device)


class GatedEdges(Gated):
    """Gates of edges, and of nodes by which those of their edges are multiplied."""

    def __init__(self, *arguments: Any, start: np.ndarray | None = None, **named: Any):
        """Start with all gates about equally open; see `Gated`.

        Args:
            arguments: of `Gated`.
            start: log alphas at the start instead of `init`, one for each edge that has
                a gate.
            named: of `Gated`.
        """
        super().__init__(*arguments, **named)
        self._edges = torch.from_numpy(np.flatnonzero(self.support)).to(self.device)
        self._writers = torch.from_numpy(self.graph.ends[0][self.support])
        self._writers = self._writers.to(self.device)
        self.log_alpha = self.initial(len(self._edges), start)
        self.node_log_alpha = None
        if self.settings.node_gates:
            self.node_log_alpha = self.initial(len(self.graph.writers) - 1)
        self.constraints = [self.constraint()]
        if self.settings.node_gates and self.settings.node_target is not None:
            targets = [self.settings.node_target] * len(self.sizes)
            start_share = self._open_nodes().mean().item()
            own = Constraint(targets, start_share, self.settings, self.device)
            self.constraints.append(own)

    def log_alphas(self) -> list[Tensor]:
        """Return those of edges, and of nodes."""
        own = [self.log_alpha, self.node_log_alpha]
        return [each for each in own if each is not None]

    def draw(self, step: int) -> Tensor:
        """Return gates of all edges, with the noise of a step."""
        generator = self.noise(step)
        drawn = gates.sample(self.log_alpha, generator)
        if self.node_log_alpha is not None:
            nodes = gates.sample(self.node_log_alpha, generator)
            drawn = drawn * self._by_writer(nodes)
        masks = drawn.new_zeros(len(drawn), len(self.support))
        return masks.index_copy(1, self._edges, drawn)

    def penalty(self, step: int) -> Tensor:
        """Return the terms of the constraints."""
        total = super().penalty(step)
        for constraint in self.constraints[1:]:
            total = total + constraint.penalty(self._open_nodes().mean(1), step)
        return total

    def open_edges(self) -> Tensor:
        """Return the probabilities that edges are open, `(sizes, gated edges)`."""
        edges = gates.open_probability(self.log_alpha)
        if self.node_log_alpha is None:
            return edges
        return edges * self._by_writer(self._open_nodes())

    def scores(self) -> np.ndarray:
        """Return what ranks the edges that have a gate, `(sizes, gated edges)`."""
        if self.node_log_alpha is None:
            return self.log_alpha.detach().cpu().numpy()
        # The logarithms of the probabilities, which are 1 for many.
        node = gates.log_open_probability(self.node_log_alpha)
        edge = gates.log_open_probability(self.log_alpha)
        return (edge + self._by_writer(node, outside=0)).detach().cpu().numpy()

    def _open_nodes(self) -> Tensor:
        return gates.open_probability(self.node_log_alpha)

    def _by_writer(self, nodes: Tensor, outside: float = 1) -> Tensor:
        """Return the values of the writers of edges; the input has that outside."""
        return with_input(nodes, outside)[:, self._writers]


class GatedNodes(Gated):
    """Gates of nodes: all edges from a node share its gate."""

    def __init__(self, *arguments: Any, **named: Any):
        """Start with all gates about equally open; arguments as of `Gated`."""
        super().__init__(*arguments, **named)
        self._writers = torch.from_numpy(self.graph.ends[0]).to(self.device)
        self._pairs = NodePairs(self.graph, self.device)
        self.log_alpha = self.initial(len(self.graph.writers) - 1)
        self.constraints = [self.constraint()]

    def draw(self, step: int) -> Tensor:
        """Return gates of all edges, with the noise of a step."""
        drawn = gates.sample(self.log_alpha, self.noise(step))
        return with_input(drawn)[:, self._writers]

    def open_edges(self) -> Tensor:
        """Return the probabilities that edges connect open nodes, `(sizes, n_edges)`.

        An edge that leads to a closed node changes nothing.
        """
        return self._pairs.open_edges(gates.open_probability(self.log_alpha))

    def scores(self) -> np.ndarray:
        """Return what ranks the nodes, `(sizes, n_nodes)`."""
        return self.log_alpha.detach().cpu().numpy()
