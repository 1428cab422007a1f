"""Gates of the edges of a graph, and gates of nodes that all edges from a node share.

Both are `learned_masks.LearnedMasks`: a row of gates for every target, which are
trained side by side and do not influence each other.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.pruning import gates
from circuit_transfer.pruning.constraints import Multipliers, Shift, Target, sharpness
from circuit_transfer.pruning.learned_masks import Setup
from circuit_transfer.pruning.node_circuits import (
    NodePairs,
    largest_circuits,
    with_input,
)
from circuit_transfer.pruning.outcomes import (
    LearnedEdges,
    check_pruned,
    exact_circuits,
)
from circuit_transfer.pruning.settings import EXACT


class Gated(ABC):
    """Gates that are held at targets for the share of open edges.

    Attributes:
        setup: what they are made from, with the settings `EdgePruning`.
        support: see `training.Masks`.
        log_alpha: of the gates, `(sizes, gates)`; by an exact multiplier, before they
            are lowered, see `constraints`.
    """

    def __init__(self, setup: Setup, *, support: np.ndarray | None = None):
        """Take what all kinds of gates have; the arguments are the attributes."""
        self.setup, settings = setup, setup.settings
        self.method, self.graph, self.sizes = setup.method, setup.graph, setup.sizes
        self.settings, self.seed, self.device = settings, setup.seed, setup.device
        every = np.ones(self.graph.n_edges, bool)
        self.support = every if support is None else support
        self.rate_warmup = settings.rate_warmup
        self.rate_cooldown = settings.rate_cooldown
        self.gradient_norm = settings.gradient_norm
        self.weight_decay = settings.weight_decay
        self.log_alpha = torch.empty(0)
        self.multipliers: Multipliers | None = None
        if settings.multiplier != EXACT:
            rate = settings.multiplier_rate
            self.multipliers = Multipliers(len(self.sizes), rate, self.device)
        self._shift: Shift | None = None

    @abstractmethod
    def open_edges(self, shift: Tensor, steepness: float = 1.0) -> Tensor:
        """Return the probabilities that edges are open, `(sizes, edges)`.

        Args:
            shift: by which log alphas are lowered, `(sizes,)`.
            steepness: see `gates.open_probability`.
        """

    @abstractmethod
    def circuits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a ranking of all edges and the circuit of each size.

        Both `(sizes, n_edges)`, float32 and bool.
        """

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters of the optimiser: gates, then multipliers."""
        own = {"params": self.log_alphas(), "lr": self.settings.learning_rate}
        every = [own] if self.multipliers is None else [own, self.multipliers.group()]
        return every

    def log_alphas(self) -> list[Tensor]:
        """Return what is trained besides the multipliers."""
        return [self.log_alpha]

    def penalty(self, step: int) -> Tensor:
        """Return the terms of trained multipliers."""
        if self.multipliers is None:
            return self.log_alpha.new_zeros(len(self.sizes))
        return self.multipliers.penalty(self.expected_share() - self.target.at(step))

    def measures(self, step: int) -> dict[str, Tensor]:
        """Return the expected share of open edges, its target, and the multiplier."""
        multiplier = (
            self._shift.multiplier()
            if self.multipliers is None
            else self.multipliers.values[0].clone()
        )
        return {
            "open_share": self.expected_share(),
            "target": self.target.at(step),
            "multiplier": multiplier,
        }

    def remedy(self) -> str:
        """Return which settings to change if the training fails."""
        names = ("learning_rate", "multiplier_rate", "steps", "init")
        given = (f"{name} ({getattr(self.settings, name):g})" for name in names)
        return f"change pruning.{self.method}: {', '.join(given)}"

    def shift(self, step: int) -> Tensor:
        """Return by how much log alphas are lowered in a step, `(sizes,)`."""
        if self.multipliers is not None:
            return self.log_alpha.new_zeros(len(self.sizes))

        def count(shift: Tensor, steepness: float) -> Tensor:
            """Return the share of all edges that are open, see `Shift`."""
            return self.open_edges(shift, steepness).sum(1) / self.graph.n_edges

        steepness = sharpness(step / self.settings.steps)
        self._shift = Shift(count, self.target.at(step), steepness)
        return self._shift.value

    def expected_share(self) -> Tensor:
        """Return the expected share of all edges that are open, `(sizes,)`."""
        return self._open_now().sum(1) / self.graph.n_edges

    def open_share(self) -> np.ndarray:
        """Return the share of all edges that are more often open than closed."""
        open_now = (self._open_now() > 0.5).sum(1)
        return open_now.cpu().numpy() / self.graph.n_edges

    def initial(self, count: int, mean: float | np.ndarray | None = None) -> Tensor:
        """Return log alphas at the start, by default about those of the settings."""
        generator = np.random.default_rng([self.seed, 0, count])
        noise = generator.normal(size=(len(self.sizes), count))
        centre = self.settings.init if mean is None else mean
        values = centre + self.settings.init_spread * noise
        found = torch.from_numpy(values.astype(np.float32)).to(self.device)
        return found.requires_grad_()

    def noise(self, step: int) -> list[np.random.Generator]:
        """Return where the noise of a step is drawn from for each target.

        It is the same when resumed, and whatever other targets there are.
        """
        numbers = range(len(self.sizes))
        return [np.random.default_rng([self.seed, 1, step, n]) for n in numbers]

    def learned(self, curves: Mapping[str, Tensor]) -> LearnedEdges:
        """Return the circuits; the log alphas are lowered as after the last step."""
        self.shift(self.settings.steps)
        start, share = self.target.start.cpu().numpy(), self.open_share()
        check_pruned(self.method, self.sizes, share, start, self.remedy())
        arrays = {name: each.numpy() for name, each in curves.items()}
        more = {"tensors": self.tensors(), "notes": self.notes()}
        return LearnedEdges(*self.circuits(), share, arrays, **more)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what belongs to the circuits besides scores and edges, by name."""
        return {}

    def notes(self) -> dict[str, Any]:
        """Return values that are noted with the circuits."""
        return {}

    def start(self) -> None:
        """Let the targets start at what is open now."""
        share = self.expected_share().detach()
        self.target = Target(self.sizes, share, self.settings)

    def _open_now(self) -> Tensor:
        """Return the probabilities that edges are open as they were drawn last."""
        drawn = self._shift is not None
        shift = self._shift.value if drawn else torch.zeros(len(self.sizes))
        return self.open_edges(shift.detach().to(self.device))


class GatedEdges(Gated):
    """Gates of edges, and of nodes by which those of their edges are multiplied."""

    def __init__(
        self,
        setup: Setup,
        *,
        support: np.ndarray | None = None,
        log_alpha: np.ndarray | None = None,
    ):
        """Start with all gates about equally open; see `Gated`.

        Args:
            setup: of `Gated`.
            support: of `Gated`.
            log_alpha: at the start instead of `init`, one for each edge with a gate.
        """
        super().__init__(setup, support=support)
        self._edges = torch.from_numpy(np.flatnonzero(self.support)).to(self.device)
        writers = torch.from_numpy(self.graph.ends[0][self.support])
        self._writers = writers.to(self.device)
        self.log_alpha = self.initial(len(self._edges), log_alpha)
        self.node_log_alpha = None
        if self.settings.node_gates:
            self.node_log_alpha = self.initial(len(self.graph.writers) - 1)
        self.start()

    def log_alphas(self) -> list[Tensor]:
        """Return those of edges, and of nodes."""
        own = [self.log_alpha, self.node_log_alpha]
        return [each for each in own if each is not None]

    def draw(self, step: int) -> Tensor:
        """Return gates of all edges, with the noise of a step."""
        generator, shift = self.noise(step), self.shift(step)
        drawn = gates.sample(self.log_alpha - shift[:, None], generator)
        if self.node_log_alpha is not None:
            nodes = gates.sample(self.node_log_alpha, generator)
            drawn = drawn * with_input(nodes)[:, self._writers]
        masks = drawn.new_zeros(len(drawn), len(self.support))
        return masks.index_copy(1, self._edges, drawn)

    def open_edges(self, shift: Tensor, steepness: float = 1.0) -> Tensor:
        """Return the probabilities that edges are open, see `Gated`."""
        edges = gates.open_probability(self.log_alpha - shift[:, None], steepness)
        if self.node_log_alpha is None:
            return edges
        nodes = gates.open_probability(self.node_log_alpha, steepness)
        return edges * with_input(nodes)[:, self._writers]

    def scores(self) -> np.ndarray:
        """Return what ranks the edges that have a gate, `(sizes, gated edges)`."""
        shift = 0.0 if self._shift is None else self._shift.value[:, None]
        lowered = self.log_alpha - shift
        if self.node_log_alpha is None:
            return lowered.detach().cpu().numpy()
        # The logarithms of the probabilities, which are 1 for many.
        node = gates.log_open_probability(self.node_log_alpha)
        edge = gates.log_open_probability(lowered)
        own = with_input(node, outside=0)[:, self._writers]
        return (edge + own).detach().cpu().numpy()

    def circuits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the most open edges of each size, exactly as many."""
        scores = self.scores()
        return scores, exact_circuits(scores, self.sizes)


class GatedNodes(Gated):
    """Gates of nodes: all edges from a node share its gate."""

    def __init__(self, setup: Setup):
        """Start with all gates about equally open."""
        super().__init__(setup)
        self._writers = torch.from_numpy(self.graph.ends[0]).to(self.device)
        self._pairs = NodePairs(self.graph, self.device)
        self.log_alpha = self.initial(len(self.graph.writers) - 1)
        self.start()

    def draw(self, step: int) -> Tensor:
        """Return gates of all edges, with the noise of a step."""
        lowered = self.log_alpha - self.shift(step)[:, None]
        drawn = gates.sample(lowered, self.noise(step))
        return with_input(drawn)[:, self._writers]

    def open_edges(self, shift: Tensor, steepness: float = 1.0) -> Tensor:
        """Return the probabilities that edges connect open nodes, see `Gated`.

        An edge that leads to a closed node changes nothing.
        """
        nodes = gates.open_probability(self.log_alpha - shift[:, None], steepness)
        return self._pairs.open_edges(nodes)

    def scores(self) -> np.ndarray:
        """Return what ranks the nodes, `(sizes, n_nodes)`."""
        return self.log_alpha.detach().cpu().numpy()

    def circuits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return those of the most open nodes, of as many edges or a few less."""
        graph, nodes = self.graph, self.scores()
        return lifted(graph, nodes), largest_circuits(graph, nodes, self.sizes)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the scores of the nodes."""
        return {"nodes": self.scores()}
