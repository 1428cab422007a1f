"""DiscoGP: masks of single weights and of edges, learned together or one by one.

Every mask is open or closed in the forward pass and has the gradient of its relaxation
in the backward pass (`straight_through`). Three losses pull at it: the circuit gives
the right answers, what it leaves out does not, and it is small (arXiv 2407.03779).

Three things differ from the published code. Under zero ablation every reader keeps the
token embeddings, whose edges have no masks and count as kept, since the norm of nothing
has no meaning. A key or value that several heads share has one mask, not one for each
of them. And biases have none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL, ZERO_NODES
from circuit_transfer.circuits.methods import implements
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.discogp_gates import EDGE, WEIGHT
from circuit_transfer.pruning.discogp_settings import (
    EDGES,
    WEIGHTS,
    ZERO,
    DiscoGP,
    discogp_settings,
)
from circuit_transfer.pruning.discogp_training import Training
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.outcomes import LearnedEdges
from circuit_transfer.pruning.weight_masks import (
    LOGITS,
    SHAPES,
    density,
    maskable_weights,
    pack_masks,
)

# Masks of which a larger share is open have pruned nothing.
ALL = 0.99


@implements("discogp")
def learn_discogp(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    *,
    settings: Mapping[str, Any],
    seed: int,
    filter_scores: np.ndarray | None = None,
    ablation: str | None = None,
    resume: Resume = NO_RESUME,
) -> LearnedEdges:
    """Learn masks of weights and edges.

    The circuit has the size that the losses give it, not one that is chosen.

    Args:
        model: a causal language model with frozen parameters, which stay as they are.
        batches: the training pairs.
        graph: the edges of the model.
        settings: the section `pruning` of the configuration.
        seed: of the start, the order of batches and the gates that are drawn.
        filter_scores: not used.
        ablation: not used, since the method has a setting of its own.
        resume: saves the training's progress.

    Returns:
        One circuit: `scores` are the logits of the edges, above all others where an
        edge has no mask, NaN if none has one; `kept` those above zero, or all.
        `tensors` has the masks of weights, see `weight_masks.pack_masks`, and `notes`
        their shapes, both densities, the size in `sizes`, and the settings.

    Raises:
        ValueError: a setting is not valid, there are no pairs, a loss is not a number,
            nothing was pruned, or the circuit is empty.
    """
    chosen = discogp_settings(settings.get("discogp") or {})
    if not batches:
        raise ValueError("discogp: there are no training pairs to learn from")
    weights = {} if chosen.masks == EDGES else maskable_weights(model)
    how = {"other_weights": bool(weights)}
    circuits = JointCircuits(model, batches, graph, ablation_kind(chosen), **how)
    training = Training(circuits, weights, _gated(graph, chosen, model), chosen, seed)
    training.train(resume)
    return _learned(training, graph, chosen)


def ablation_kind(settings: DiscoGP) -> str:
    """Return the ablation of edges under which circuits are learned and measured."""
    return ZERO_NODES if settings.ablation == ZERO else COUNTERFACTUAL


def _gated(graph: Graph, settings: DiscoGP, model: nn.Module) -> Tensor:
    """Return which edges have a mask, bool `(n_edges,)`."""
    gated = np.full(graph.n_edges, settings.masks != WEIGHTS)
    if settings.ablation == ZERO:
        gated &= ~input_edges(graph)
    return torch.from_numpy(gated).to(model.device)


def _learned(training: Training, graph: Graph, settings: DiscoGP) -> LearnedEdges:
    gates, gated = training.gates, training.gated.cpu().numpy()
    # Masks of weights alone do not rank the edges.
    scores = np.full(graph.n_edges, np.nan, np.float32)
    if gated.any():
        logits = gates.logits[EDGE][EDGE].detach().cpu().numpy()
        scores[gated], scores[~gated] = logits, np.abs(logits).max() + 1
    kept = ~gated | (scores > 0)
    masks = gates.hard(WEIGHT) if training.weights else {}
    share = density(masks) if masks else 1.0
    # Edges without a mask are there whatever was learned.
    used = effective_edges(graph, kept)[gated].any()
    _check({EDGE: (used, kept.mean()), WEIGHT: (share > 0, share)}, settings)
    tensors = pack_masks(masks)
    if settings.logits:
        tensors |= {
            LOGITS + name: each.detach().half().cpu().numpy()
            for name, each in gates.logits.get(WEIGHT, {}).items()
        }
    notes = {
        # In place of the sizes that other methods are given.
        "sizes": [float(kept.mean())],
        "discogp": {**vars(settings)},
        "weight_density": share,
        "edge_density": float(kept.mean()),
        SHAPES: {name: [*mask.shape] for name, mask in masks.items()},
    }
    open_share = np.float32([kept.mean()])
    return LearnedEdges(
        scores[None], kept[None], open_share, training.curves(), tensors, notes
    )


def _check(found: Mapping[str, tuple[bool, float]], settings: DiscoGP) -> None:
    """Refuse circuits that are empty, and those in which nothing was pruned.

    Args:
        found: by kind whether any that is kept matters, and the share that is kept.
        settings: how they were learned.
    """
    for kind in settings.kinds:
        used, share = found[kind]
        values = (getattr(settings, f"{kind}_{n}") for n in ("density_max", "steps"))
        remedy = "pruning.discogp.{0}_density_max (now {1:g}) or {0}_steps (now {2})"
        remedy = remedy.format(kind, *values)
        if not used:
            raise ValueError(
                f"discogp: the circuit is empty, no {kind} is left that matters; use a "
                f"smaller {remedy}"
            )
        if share > ALL:
            raise ValueError(
                f"discogp: nothing was pruned, {share:.1%} of the {kind}s are left; "
                f"use a larger {remedy}"
            )
