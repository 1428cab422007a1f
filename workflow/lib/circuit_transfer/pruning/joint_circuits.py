"""Run circuits of edges and weights together, and what they leave out.

A joint circuit has a share of every edge and other weights than the model's. What an
edge outside carries is the full model's, whatever the weights of the circuit: its
writer's output on the corrupted prompts, or zero. So it is run once for all circuits.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from circuit_transfer.circuits.edge_runs import edge_ablation_of, edge_runs
from circuit_transfer.interventions import EdgeRuns, answer_logits, plan_edges
from circuit_transfer.interventions.other_weights import with_weights
from circuit_transfer.interventions.soft_edges import soft_edge_logits
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch


class JointCircuits:
    """Runs joint circuits on batches of pairs, and keeps what they share."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PairBatch],
        graph: Graph,
        ablation: str,
    ):
        """Prepare an ablation; nothing is run yet.

        Args:
            model: a causal language model with frozen parameters.
            batches: the pairs, without cached positions.
            graph: the edges of the model.
            ablation: what an edge outside carries, see `edge_runs.edge_ablation_of`.
        """
        self.model, self.batches, self.graph = model, batches, graph
        self._ablated = edge_ablation_of(model, batches, ablation)
        # All are computed: by other weights than the model's every output differs.
        every = np.ones((1, graph.n_edges), bool)
        self._plan = plan_edges(graph, every, silent=False)
        self._runs: dict[int, EdgeRuns] = {}

    def runs(self, index: int) -> EdgeRuns:
        """Return the clean and the ablated run of a batch."""
        if index not in self._runs:
            batch = self.batches[index]
            self._runs[index] = edge_runs(self.model, batch, self.graph, self._ablated)
        return self._runs[index]

    def full(self, index: int) -> Tensor:
        """Return the full model's answer logits, `(batch, vocabulary)`."""
        return self.runs(index).clean.logits

    def empty(self, index: int) -> Tensor:
        """Return the logits where everything is ablated, `(batch or 1, vocabulary)`."""
        return self.runs(index).ablated.logits

    def logits(
        self, index: int, edges: Tensor | None, weights: Mapping[str, Tensor] | None
    ) -> Tensor:
        """Return a circuit's answer logits, with gradients for edges and weights.

        Args:
            index: number of the batch.
            edges: share of every edge, float32 `(n_edges,)`; None for all edges.
            weights: by the names of the parameters that they replace; None for the
                model's own.
        """

        def run() -> Tensor:
            if edges is None:
                return answer_logits(self.model, self.batches[index].clean)
            runs = self.runs(index)
            return soft_edge_logits(self.model, runs, self._plan, edges[None])

        # Before the weights are replaced.
        self.runs(index)
        return run() if weights is None else with_weights(self.model, weights, run)


def input_edges(graph: Graph) -> np.ndarray:
    """Return which edges come from the token embeddings, bool `(n_edges,)`."""
    return graph.ends[0] == 0
