"""Soft top-k (Matryoshka attribution, arXiv 2609.25518): one ranking for all sizes.

Every step draws sizes of circuits and makes soft circuits of the highest scores, so
that a gradient reaches the scores near the boundary. All sizes train the same ranking.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL
from circuit_transfer.circuits.masks import (
    SOFTNESS,
    size_weights,
    soft_circuit,
    softness_at,
)
from circuit_transfer.circuits.methods import implements
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.node_circuits import largest_circuits, with_input
from circuit_transfer.pruning.outcomes import (
    LearnedEdges,
    check_effective,
    exact_circuits,
)
from circuit_transfer.pruning.settings import (
    SoftTopK,
    learned_sizes,
    method_settings,
    objective_of,
)
from circuit_transfer.pruning.training import train

EDGES, NODES = "soft-top-k", "node-soft-top-k"
LAST_SOFTNESS = SOFTNESS[1]


class Ranking:
    """Scores of edges, or of nodes, that soft circuits of drawn sizes are made of.

    Attributes: see `training.Masks`.
    """

    rate_warmup = rate_cooldown = 0.0

    def __init__(
        self,
        method: str,
        graph: Graph,
        settings: SoftTopK,
        *,
        seed: int,
        device: torch.device,
    ):
        """Start with scores near zero.

        Args:
            method: name of the method; by `node-soft-top-k` nodes have the scores.
            graph: the edges.
            settings: how to train.
            seed: of the start and of the drawn sizes.
            device: of the scores.
        """
        self.method, self.settings = method, settings
        self.support = np.ones(graph.n_edges, bool)
        self.weight_decay = settings.weight_decay
        self.gradient_norm = settings.gradient_norm
        self._writers = None
        if method == NODES:
            self._writers = torch.from_numpy(graph.ends[0]).to(device)
        count = len(graph.writers) - 1 if method == NODES else graph.n_edges
        noise = np.random.default_rng([seed, 0]).normal(size=count)
        start = torch.from_numpy((settings.init_spread * noise).astype(np.float32))
        self.scores = start.to(device).requires_grad_()
        self.seed = seed

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


@implements(EDGES)
def rank_edges(
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
    """`soft-top-k`: a score for every edge; arguments as in `learned.learn_edges`."""
    ranking = _ranking(EDGES, model, graph, settings, seed)
    curves = _train(model, batches, graph, ranking, settings, ablation, resume)
    sizes = learned_sizes(settings)
    scores = _repeated(ranking, sizes)
    kept = exact_circuits(scores, sizes)
    check_effective(EDGES, graph, kept, sizes, ranking.remedy())
    return LearnedEdges(scores, kept, kept.mean(1), curves)


@implements(NODES)
def rank_nodes(
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
    """`node-soft-top-k`: a score for every node; see `edge_pruning.prune_nodes`."""
    ranking = _ranking(NODES, model, graph, settings, seed)
    curves = _train(model, batches, graph, ranking, settings, ablation, resume)
    sizes = learned_sizes(settings)
    nodes = _repeated(ranking, sizes)
    kept = largest_circuits(graph, nodes, sizes)
    check_effective(NODES, graph, kept, sizes, ranking.remedy())
    return LearnedEdges(
        lifted(graph, nodes), kept, kept.mean(1), curves, {"nodes": nodes}
    )


def _ranking(
    method: str, model: nn.Module, graph: Graph, section: Mapping[str, Any], seed: int
) -> Ranking:
    own = method_settings(method, section)
    return Ranking(method, graph, own, seed=seed, device=model.device)


def _train(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    ranking: Ranking,
    section: Mapping[str, Any],
    ablation: str,
    resume: Resume,
) -> dict[str, np.ndarray]:
    """Train a ranking in place; its curves are the same for all learned sizes."""
    curves = train(
        model,
        prepare_edges(model, batches, graph, ablation),
        ranking,
        steps=ranking.settings.steps,
        objective=objective_of(section),
        silent=ablation == COUNTERFACTUAL,
        seed=ranking.seed,
        resume=resume,
    )
    count = len(learned_sizes(section))
    means = {name: each.mean(0, keepdim=True) for name, each in curves.items()}
    return {name: each.expand(count, -1).numpy() for name, each in means.items()}


def _repeated(ranking: Ranking, sizes: Sequence[float]) -> np.ndarray:
    """Return the scores once for every learned size."""
    scores = ranking.scores.detach().cpu().numpy()
    return np.repeat(scores[None], len(sizes), 0)
