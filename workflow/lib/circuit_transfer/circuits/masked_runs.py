"""Run a model under a soft mask over its nodes, or over its edges.

A node's output, or what an edge carries, is mixed with that in another run by the share
that the mask gives it, and a gradient of the answer reaches whatever the mask is made
from. Several masks run side by side in one pass.
"""

from torch import Tensor, nn

from circuit_transfer.circuits.prepared import Prepared
from circuit_transfer.circuits.prepared_edges import PreparedEdges
from circuit_transfer.interventions import (
    Plan,
    Storage,
    answer_logits,
    mixing,
    pushing,
    soft_edge_logits,
)


def masked_logits(
    model: nn.Module, prepared: Prepared, mask: Tensor, intervention: str
) -> Tensor:
    """Return the answer logits `(batch, vocabulary)` of a model under a soft mask.

    `circuit` mixes live outputs with the corrupted ones on the clean prompts: with a
    binary mask that is what evaluation does. `interpolation` mixes cached clean with
    cached corrupted outputs, the equation of the DFA paper (arXiv 2604.24302, Section
    3). `release` pushes live outputs on the corrupted prompts towards the clean ones,
    as the paper's public code does.

    Several masks `(masks, n_nodes)` run side by side and give one more axis in front.

    Raises:
        ValueError: the intervention is unknown.
    """
    batch, clean, corrupted = prepared.batch, prepared.clean, prepared.corrupted
    if intervention == "circuit":
        ids, context = batch.clean, mixing(model, mask, corrupted)
    elif intervention == "interpolation":
        ids, context = batch.clean, mixing(model, mask, corrupted, inside=clean)
    elif intervention == "release":
        ids, context = batch.corrupted, pushing(model, mask, towards=clean)
    else:
        raise ValueError(
            f"intervention {intervention!r} is not one of circuit, interpolation, "
            "release"
        )
    times = mask[..., 0].numel()
    with context:
        logits = answer_logits(model, ids.repeat(times, 1), after=batch.prefix)
    return logits if mask.ndim == 1 else logits.unflatten(0, (times, -1))


def masked_edge_logits(
    model: nn.Module,
    prepared: PreparedEdges,
    masks: Tensor,
    plan: Plan,
    storage: Storage | None = None,
) -> Tensor:
    """Return the answer logits `(masks, batch, vocabulary)` under soft masks of edges.

    Args:
        model: the model.
        prepared: a batch.
        masks: shares of the edges, `(masks, n_edges)`.
        plan: see `interventions.soft_edge_logits`.
        storage: likewise.
    """
    logits = soft_edge_logits(model, prepared.runs, plan, masks, storage)
    return logits.unflatten(0, (len(masks), -1))
