"""Run circuits of edges and weights together, and what they leave out.

A joint circuit has a share of every edge and other weights than the model's. What an
edge outside carries is the full model's, whatever the weights of the circuit: its
writer's output on the corrupted prompts, or zero. So it is run once for all circuits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from circuit_transfer.circuits.prepared_edges import PreparedEdges, prepare_edges
from circuit_transfer.interventions import (
    Plan,
    answer_logits,
    plan_edges,
    soft_edge_logits,
)
from circuit_transfer.interventions.edge_references import head_weights
from circuit_transfer.interventions.other_weights import with_weights
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch


@dataclass(frozen=True)
class JointBatch:
    """A batch of pairs on which joint circuits run.

    Attributes:
        model: a causal language model with frozen parameters.
        batch: the pairs.
        prepared: the full and the ablated run.
        plan: with all edges.
    """

    model: nn.Module
    batch: PairBatch
    prepared: PreparedEdges
    plan: Plan

    def logits(
        self, edges: Tensor | None, weights: Mapping[str, Tensor] | None
    ) -> Tensor:
        """Return a circuit's answer logits, with gradients for edges and weights.

        Args:
            edges: share of every edge, float32 `(n_edges,)`; None for all edges.
            weights: by the names of the parameters that they replace; None for the
                model's own.

        Returns:
            `(batch, vocabulary)`.
        """

        def run() -> Tensor:
            """Return the logits with whatever weights the model has now."""
            if edges is None:
                return answer_logits(self.model, self.batch.clean)
            runs = self.prepared.runs
            return soft_edge_logits(self.model, runs, self.plan, edges[None])

        return run() if weights is None else with_weights(self.model, weights, run)


class JointCircuits(Sequence[JointBatch]):
    """The batches on which joint circuits run, with what these share."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PairBatch],
        graph: Graph,
        ablation: str,
        *,
        other_weights: bool,
    ):
        """Run all batches in full and ablated.

        Args:
            model: a causal language model with frozen parameters.
            batches: the pairs, without cached positions.
            graph: the edges of the model.
            ablation: what an edge outside carries, see `edge_runs.edge_ablation_of`.
            other_weights: whether a circuit may have other weights than the model.
                Then the first positions, too, differ from the full model's, and every
                output from the ablated one.
        """
        self.model, self.batches = model, batches
        self._prepared = prepare_edges(
            model, batches, graph, ablation, prefixes=not other_weights
        )
        every = np.ones((1, graph.n_edges), bool)
        self._plan = plan_edges(graph, every, silent=False)
        self._head_weights = head_weights(model) if other_weights else None

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def __getitem__(self, index: int) -> JointBatch:
        """Return a batch."""
        prepared = self._prepared[index]
        runs = replace(prepared.runs, head_weights=self._head_weights)
        prepared = replace(prepared, runs=runs)
        return JointBatch(self.model, self.batches[index], prepared, self._plan)


def input_edges(graph: Graph) -> np.ndarray:
    """Return which edges come from the token embeddings, bool `(n_edges,)`."""
    return graph.ends[0] == 0
