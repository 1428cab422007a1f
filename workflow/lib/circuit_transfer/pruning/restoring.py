"""Restore edges after a training: the last ones of a circuit are chosen once more.

A training can close an edge that turns out to be needed once others are closed too, and
edges that a filter left out were never tried. So the weakest edges of a circuit give
way to those that, added to the others, lower the loss most. That is estimated to first
order for all edges at once, by the gradient for their shares: one attribution pass on
the circuit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from circuit_transfer.circuits.prepared_edges import PreparedEdges
from circuit_transfer.interventions import Storage, plan_edges, soft_edge_logits
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.edges import Graph
from circuit_transfer.pruning.outcomes import LearnedEdges, exact_circuits
from circuit_transfer.pruning.training import LOSSES

# Of circuits, bool `(sizes, n_edges)`, the gradient of the loss for every edge's share.
Slopes = Callable[[np.ndarray], np.ndarray]


def restored(
    found: LearnedEdges, sizes: Sequence[float], share: float, slopes: Slopes
) -> LearnedEdges:
    """Return circuits of which the last edges are chosen by the loss's gradient.

    Args:
        found: the circuits.
        sizes: shares of all edges.
        share: how many of the edges of each circuit are chosen, rounded down. If fewer
            lower the loss, the others are the next by their scores.
        slopes: see `loss_slopes`; it is asked about the circuits without their last
            edges.

    Returns:
        The same with rankings that have the chosen edges after the others of each
        circuit. `restored_edges` among the notes has how many were not in it before.
    """
    counts = found.kept.sum(1)
    firm = counts - (share * counts).astype(int)
    orders = np.argsort(-found.scores, axis=1, kind="stable")
    cores = np.zeros_like(found.kept)
    for core, order, count in zip(cores, orders, firm, strict=True):
        core[order[:count]] = True
    scores = np.empty_like(found.scores)
    every = zip(found.scores, orders, firm, counts, slopes(cores), strict=True)
    for row, (values, order, first, count, slope) in zip(scores, every, strict=True):
        row[_reordered(order, first, count, slope)] = values[order]
    kept = exact_circuits(scores, sizes)
    new = (kept & ~found.kept).sum(1).tolist()
    notes = {**found.notes, "restored_edges": new}
    return replace(found, scores=scores, kept=kept, notes=notes)


def loss_slopes(
    model: nn.Module,
    prepared: Sequence[PreparedEdges],
    graph: Graph,
    objective: str,
    circuits: np.ndarray,
) -> np.ndarray:
    """Return the gradient of the mean loss for the share of every edge at circuits.

    Args:
        model: a causal language model with frozen parameters.
        prepared: the batches.
        graph: the edges of the model.
        objective: see `training.LOSSES`.
        circuits: bool `(circuits, n_edges)`; edges outside have gradients too.

    Returns:
        float32 `(circuits, n_edges)`: by how much the loss rises for each share that is
        added.
    """
    plan = plan_edges(graph, np.ones((1, graph.n_edges), bool), silent=False)
    masks = torch.from_numpy(circuits).to(model.device, torch.float32)
    masks.requires_grad_()
    storage = Storage()
    pairs = sum(len(each.batch) for each in prepared)
    for each in progress(prepared, len(prepared), "batch"):
        # One by one, so that they fit wherever a circuit does.
        for row in masks.split(1):
            logits = soft_edge_logits(model, each.runs, plan, row, storage)
            loss = LOSSES[objective](each, logits[None]).sum()
            (loss * (len(each.batch) / pairs)).backward()
    return masks.grad.cpu().numpy()


def _reordered(
    order: np.ndarray, firm: int, count: int, slope: np.ndarray
) -> np.ndarray:
    """Return a ranking in which the edges that lower the loss most take last places."""
    rest = order[firm:]
    best = rest[np.argsort(slope[rest], kind="stable")[: count - firm]]
    best = best[slope[best] < 0]
    return np.concatenate([order[:firm], best, rest[~np.isin(rest, best)]])
