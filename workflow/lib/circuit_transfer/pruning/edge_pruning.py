"""Edge Pruning (arXiv 2406.16778): train hard concrete gates, keep the most open edges.

The gates are trained so that the circuit diverges little from the full model while the
expected share of open ones is held at a target, see `constraints`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL
from circuit_transfer.circuits.methods import implements
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.gated import Gated, GatedEdges, GatedNodes
from circuit_transfer.pruning.node_circuits import largest_circuits
from circuit_transfer.pruning.outcomes import (
    LearnedEdges,
    check_effective,
    check_pruned,
    exact_circuits,
)
from circuit_transfer.pruning.settings import (
    learned_sizes,
    method_settings,
    objective_of,
)
from circuit_transfer.pruning.training import train

EDGE_PRUNING, NODE_PRUNING = "edge-pruning", "node-pruning"


@implements(EDGE_PRUNING)
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
    own = method_settings(EDGE_PRUNING, settings)
    sizes = learned_sizes(settings)
    masks = GatedEdges(EDGE_PRUNING, graph, sizes, own, seed=seed, device=model.device)
    found = train_gates(model, batches, masks, settings, ablation, resume)
    scores = masks.scores()
    kept = exact_circuits(scores, sizes)
    check_effective(EDGE_PRUNING, graph, kept, sizes, masks.remedy())
    return LearnedEdges(scores, kept, masks.open_share(), found)


@implements(NODE_PRUNING)
def prune_nodes(
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
    """`node-pruning`: a gate for every node; arguments as in `learned.learn_edges`.

    The circuit of a size is that of the most open nodes which has as many edges, or a
    few less.
    """
    own = method_settings(NODE_PRUNING, settings)
    sizes = learned_sizes(settings)
    masks = GatedNodes(NODE_PRUNING, graph, sizes, own, seed=seed, device=model.device)
    found = train_gates(model, batches, masks, settings, ablation, resume)
    nodes = masks.scores()
    kept = largest_circuits(graph, nodes, sizes)
    check_effective(NODE_PRUNING, graph, kept, sizes, masks.remedy())
    return LearnedEdges(
        lifted(graph, nodes), kept, masks.open_share(), found, {"nodes": nodes}
    )


def train_gates(
    model: nn.Module,
    batches: Sequence[PairBatch],
    masks: Gated,
    section: Mapping[str, Any],
    ablation: str,
    resume: Resume,
) -> dict[str, np.ndarray]:
    """Train gates in place and return the curves.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs.
        masks: the gates.
        section: the section `pruning` of the configuration.
        ablation: see `edge_runs.EdgeAblation`.
        resume: saves the training's progress.

    Raises:
        ValueError: a loss is not a number, or no gate closed.
    """
    start = masks.expected_share().detach().cpu().numpy()
    curves = train(
        model,
        prepare_edges(model, batches, masks.graph, ablation),
        masks,
        steps=masks.settings.steps,
        objective=objective_of(section),
        silent=ablation == COUNTERFACTUAL,
        seed=masks.seed,
        resume=resume,
    )
    masks.settle()
    check_pruned(masks.method, masks.sizes, masks.open_share(), start, masks.remedy())
    return {name: each.numpy() for name, each in curves.items()}
