"""Edge Pruning (arXiv 2406.16778): a hard concrete gate for every edge, or every node.

The gates are trained so that the circuit diverges little from the full model while the
expected share of open ones is held at a target, see `constraints`. Gates of several
targets are trained side by side and do not influence each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL
from circuit_transfer.circuits.methods import implements
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning import gates
from circuit_transfer.pruning.constraints import Constraint
from circuit_transfer.pruning.outcomes import (
    LearnedEdges,
    check_effective,
    check_pruned,
    exact_circuits,
)
from circuit_transfer.pruning.settings import (
    EdgePruning,
    learned_sizes,
    method_settings,
    objective_of,
)
from circuit_transfer.pruning.training import train


class GatedEdges:
    """Gates of the edges of a graph, a row for every target.

    Attributes: see `training.Masks`.
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
        start: np.ndarray | None = None,
    ):
        """Start with all gates about equally open.

        Args:
            method: name of the method.
            graph: the edges.
            sizes: shares of all edges that may be open in the end.
            settings: how to train.
            seed: of the start and of the noise of the gates.
            device: of the gates.
            support: the edges that have a gate, bool `(n_edges,)`; the others stay
                closed. By default all.
            start: log alphas at the start instead of `init`, one for each of them.
        """
        self.method, self.graph, self.sizes = method, graph, tuple(sizes)
        self.settings, self.seed = settings, seed
        self.support = np.ones(graph.n_edges, bool) if support is None else support
        self.rate_warmup = settings.rate_warmup
        self.weight_decay = settings.weight_decay
        self._edges = torch.from_numpy(np.flatnonzero(self.support)).to(device)
        count = len(self._edges)
        self.log_alpha = self._initial(count, start, device)
        # The writer of every edge, without the input, which has no gate.
        self._writers = torch.from_numpy(graph.ends[0][self.support] - 1).to(device)
        self.node_log_alpha = None
        self._constraints = [self._constraint(sizes, device)]
        if settings.node_gates:
            nodes = len(graph.writers) - 1
            self.node_log_alpha = self._initial(nodes, None, device)
            if settings.node_target is not None:
                targets = [settings.node_target] * len(sizes)
                open_now = gates.open_probability(self.node_log_alpha).mean().item()
                node = Constraint(targets, open_now, settings, device)
                self._constraints.append(node)

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters of the optimiser: gates, then multipliers."""
        log_alphas = [self.log_alpha, self.node_log_alpha]
        learned = [each for each in log_alphas if each is not None]
        own = {"params": learned, "lr": self.settings.learning_rate}
        return [own, *(each.group() for each in self._constraints)]

    def draw(self, step: int) -> Tensor:
        """Return gates of all edges, with the noise of a step."""
        generator = np.random.default_rng([self.seed, 1, step])
        drawn = self._drawn(self.log_alpha, generator)
        if self.node_log_alpha is not None:
            drawn = drawn * self._by_writer(self._drawn(self.node_log_alpha, generator))
        masks = drawn.new_zeros(len(drawn), len(self.support))
        return masks.index_copy(1, self._edges, drawn)

    def penalty(self, step: int) -> Tensor:
        """Return the terms of the constraints."""
        edges, *nodes = self._constraints
        total = edges.penalty(self.expected_share(), step)
        for constraint in nodes:
            share = gates.open_probability(self.node_log_alpha).mean(1)
            total = total + constraint.penalty(share, step)
        return total

    def measures(self, step: int) -> dict[str, Tensor]:
        """Return the expected share of open edges, its target, and the multiplier."""
        edges = self._constraints[0]
        return {
            "open_share": self.expected_share(),
            "target": edges.target(step),
            "multiplier": edges.multipliers[0].clone(),
        }

    def remedy(self) -> str:
        """Return which settings to change if the training fails."""
        return remedy(self.method, self.settings)

    def expected_share(self) -> Tensor:
        """Return the expected share of all edges that are open, `(sizes,)`."""
        return self._open().sum(1) / len(self.support)

    def open_share(self) -> np.ndarray:
        """Return the share of all edges that are more often open than closed."""
        return (self._open() > 0.5).sum(1).cpu().numpy() / len(self.support)

    def start_share(self) -> float:
        """Return the expected share that is open now, over all targets."""
        return self.expected_share().mean().item()

    def scores(self) -> np.ndarray:
        """Return what ranks the edges that have a gate, `(sizes, gated)`."""
        if self.node_log_alpha is None:
            return self.log_alpha.detach().cpu().numpy()
        node = gates.log_open_probability(self.node_log_alpha)
        edge = gates.log_open_probability(self.log_alpha)
        return (edge + self._by_writer(node)).detach().cpu().numpy()

    def _initial(
        self, count: int, start: np.ndarray | None, device: torch.device
    ) -> Tensor:
        generator = np.random.default_rng([self.seed, 0, count])
        noise = generator.normal(size=(len(self.sizes), count))
        mean = self.settings.init if start is None else start
        values = mean + self.settings.init_spread * noise
        found = torch.from_numpy(values.astype(np.float32)).to(device)
        return found.requires_grad_()

    def _constraint(self, sizes: Sequence[float], device: torch.device) -> Constraint:
        # What is closed from the start has been pruned already.
        open_now = gates.open_probability(self.log_alpha).sum(1).mean().item()
        start = open_now / len(self.support)
        return Constraint(sizes, start, self.settings, device)

    def _open(self) -> Tensor:
        """Return the probabilities that edges are open, `(sizes, gated)`."""
        edges = gates.open_probability(self.log_alpha)
        if self.node_log_alpha is None:
            return edges
        nodes = gates.open_probability(self.node_log_alpha)
        return edges * self._by_writer(nodes)

    def _drawn(self, log_alpha: Tensor, generator: np.random.Generator) -> Tensor:
        noise = generator.random(log_alpha.shape, np.float32)
        return gates.sample(log_alpha, torch.from_numpy(noise).to(log_alpha.device))

    def _by_writer(self, nodes: Tensor) -> Tensor:
        """Return the values of the writers of edges; that of the input is 1."""
        own = nodes[:, self._writers.clamp(min=0)]
        return own.where(self._writers >= 0, torch.ones_like(own))


def remedy(method: str, settings: EdgePruning) -> str:
    """Return which settings to change if a training fails, with their values."""
    names = ("learning_rate", "multiplier_rate", "steps", "init")
    given = (f"{name} ({getattr(settings, name):g})" for name in names)
    return f"change pruning.{method}: {', '.join(given)}"


@implements("edge-pruning")
def prune_edges(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    *,
    settings: Mapping[str, Any],
    seed: int,
    filter_scores: np.ndarray | None = None,
    ablation: str = COUNTERFACTUAL,
    resume: Resume = NO_RESUME,
) -> LearnedEdges:
    """`edge-pruning`: a gate for every edge; arguments as in `learned.learn_edges`."""
    own = method_settings("edge-pruning", settings)
    sizes = learned_sizes(settings)
    masks = GatedEdges(
        "edge-pruning", graph, sizes, own, seed=seed, device=model.device
    )
    return learn_gates(
        model, batches, masks, settings, own, ablation=ablation, resume=resume
    )


def learn_gates(
    model: nn.Module,
    batches: Sequence[PairBatch],
    masks: GatedEdges,
    section: Mapping[str, Any],
    *,
    ablation: str,
    resume: Resume,
) -> LearnedEdges:
    """Train gates and return the circuits of the most open ones.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs.
        masks: the gates.
        section: the section `pruning` of the configuration.
        ablation: see `edge_runs.EdgeAblation`.
        resume: saves the training's progress.

    Raises:
        ValueError: a loss is not a number, no gate closed, or all circuits are empty.
    """
    start = masks.expected_share().detach().cpu().numpy()
