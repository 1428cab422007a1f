"""Score edges: how far would the logit difference drop if an edge were ablated?

The functions of the methods in `methods.METHODS` that score edges; see EAP (arXiv
2310.10348), EAP-IG (arXiv 2403.17806) and GIM (arXiv 2505.17630). The score of an edge
by gradients is the difference of the writer's output times the gradient at what the
reader reads.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.edge_sites import activation_scores
from circuit_transfer.circuits.edge_steps import (
    GRIDS,
    BatchScores,
    conductance_scores,
    gradient_scores,
)
from circuit_transfer.circuits.exact_edges import exact_scores
from circuit_transfer.circuits.methods import FUNCTIONS, check_method, implements
from circuit_transfer.interventions import gim_gradients
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.messages import quoted
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EdgeAttribution:
    """Scores of the edges; positive means the edge supports the answer.

    Attributes:
        scores: float32 `(n_writers, n_readers)`, the mean over the examples; 0 where
            there is no edge.
        effect: float32 `(examples,)`, the logit difference of the clean run minus that
            with everything ablated, the input too.
        by_example: float32 `(examples, n_edges)`, edges in the order of their readers,
            then writers; None if not requested.
        completeness: of a method whose scores should add up to the effect: the total
            over the edges that cross from the layers before to the layers after, before
            the first layer and after each one, divided by the mean effect; else None.
    """

    scores: Tensor
    effect: Tensor
    by_example: Tensor | None = None
    completeness: list[float] | None = None

    def summary(self) -> dict[str, Any]:
        """Return the mean effect and, where there is one, the completeness."""
        found = {"effect": self.effect.double().mean().item()}
        if self.completeness is not None:
            found["completeness"] = self.completeness
        return found


@dataclass(frozen=True)
class Steps:
    """How a method integrates.

    Attributes:
        count: number of steps.
        grid: where the gradient of each is taken, see `edge_steps.GRIDS`.
    """

    count: int
    grid: str

    def places(self) -> list[Fraction]:
        """Return the shares of the way from ablated (0) to clean (1), in order."""
        offset = GRIDS[self.grid]
        return [(step + offset) / self.count for step in range(self.count)]


def attribute_edges(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    *,
    method: str,
    ig_steps: int = 5,
    grid: str = "right",
    ablation: str = "counterfactual",
    by_example: bool = False,
    resume: Resume = NO_RESUME,
) -> EdgeAttribution:
    """Score every edge of a model on every pair.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs; how they are cut into batches does not matter.
        graph: its edges, see `models.edges.config_graph`.
        method: one of `methods.edge_methods`.
        ig_steps: steps of integrated gradients, for the methods that integrate.
        grid: where the gradient of a step is taken: at its clean end (`right`), at its
            ablated end (`left`, as the edges of EAP-IG), or between them (`mid`).
        ablation: the output of an ablated writer, see `ablations`; by `zero` and `mean`
            the token embeddings are ablated too.
        by_example: whether to return the scores of every example as well.
        resume: saves the scores of the batches that are done; if they are cut in
            another way, it starts from the beginning.

    Raises:
        ValueError: the method, the grid or the ablation is unknown, or method and
            ablation do not go together.
    """
    check_method(method, ablation, scores="edges")
    if grid not in GRIDS:
        raise ValueError(f"grid {quoted(grid)}: expected {', '.join(GRIDS)}")
    score, steps = FUNCTIONS[method], Steps(ig_steps, grid)
    ablated = ablation_of(model, batches, ablation)
    resume.expect(batches=[len(batch) for batch in batches])
    sums = _Sums(graph, by_example)
    sums.restore(resume, len(batches))
    left = batches[sums.done :]
    for batch in progress(left, len(batches), "batch", done=sums.done):
        sums.add(score(model, ablated.shorten(batch), ablated, graph, steps))
        resume.save()
    return sums.attribution(complete=method == "eap-conductance")


class _Sums:
    """Scores of the batches so far."""

    def __init__(self, graph: Graph, by_example: bool):
        self.done = 0
        self._graph, self._by_example = graph, by_example
        # In float64, so that the order of the examples does not matter.
        shape = len(graph.writers), len(graph.readers)
        self._total = torch.zeros(shape, dtype=torch.float64)
        self._effects: list[Tensor] = []
        self._examples: list[Tensor] = []

    def add(self, found: BatchScores) -> None:
        self._total += found.scores.sum(0, dtype=torch.float64).cpu()
        self._effects.append(found.effect.float().cpu())
        if self._by_example:
            writers, readers = map(torch.from_numpy, self._graph.ends)
            self._examples.append(found.scores.cpu()[:, writers, readers])
        self.done += 1

    def restore(self, resume: Resume, batches: int) -> None:
        state = resume.restore("batches", self._state)
        if state is None:
            return
        self._total = state.tensors["total"]
        self._effects = [state.tensors["effect"]]
        self._examples = [state.tensors["examples"]] if self._by_example else []
        self.done = state.notes["done"]
        log.info("attribution of edges: batch %d of %d", self.done, batches)

    def _state(self) -> State:
        tensors = {"total": self._total, "effect": torch.cat(self._effects)}
        if self._by_example:
            tensors["examples"] = torch.cat(self._examples)
        return State(tensors, {"done": self.done})

    def attribution(self, complete: bool) -> EdgeAttribution:
        effect = torch.cat(self._effects)
        scores = self._total / len(effect)
        cuts = _cut_totals(self._graph, scores) / effect.double().mean()
        return EdgeAttribution(
            scores.float(),
            effect,
            torch.cat(self._examples) if self._by_example else None,
            cuts.tolist() if complete else None,
        )


def _cut_totals(graph: Graph, scores: Tensor) -> Tensor:
    """Return the total over the edges that cross each cut between layers."""
    totals = []
    for layer in range(graph.layers + 1):
        before = 1 + layer * (graph.heads + 1)
        first = graph.mlp_reader(layer - 1) + 1 if layer else 0
        totals.append(scores[:before, first:].sum())
    return torch.stack(totals)


@implements("eap")
def _gradient(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, _steps: Steps
) -> BatchScores:
    """`eap`: the gradient at the clean run times the difference of outputs."""
    return gradient_scores(model, batch, ablated, graph)


@implements("eap-gim")
def _interactions(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, _steps: Steps
) -> BatchScores:
    """`eap-gim`: as `eap`, with the gradient by the rules of GIM."""
    with gim_gradients(model):
        return gradient_scores(model, batch, ablated, graph, frozen_norms=True)


@implements("eap-ig-inputs")
def _integrated(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, steps: Steps
) -> BatchScores:
    """`eap-ig-inputs`: the gradient averaged on the way between the inputs."""
    return gradient_scores(model, batch, ablated, graph, places=steps.places())


@implements("eap-ig-activations")
def _integrated_by_site(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, steps: Steps
) -> BatchScores:
    """`eap-ig-activations`: the writers of one site move alone from ablated to clean.

    Only gradients at the readers above it count, averaged over the way.
    """
    return activation_scores(model, batch, ablated, graph, places=steps.places())


@implements("eap-conductance")
def _conductance(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, steps: Steps
) -> BatchScores:
    """`eap-conductance`: gradients times changes of outputs from step to step.

    The scores of all edges that cross from the layers before to those after add up to
    the effect, but for the error of the steps.
    """
    return conductance_scores(model, batch, ablated, graph, places=steps.places())


@implements("eap-exact")
def _ablated_alone(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph, _steps: Steps
) -> BatchScores:
    """`eap-exact`: ablate one edge alone and take the drop of the metric."""
    return exact_scores(model, batch, ablated, graph)
