"""Circuits as masks over the nodes: 1 inside, 0 outside, and soft ones in between.

From rankings to masks, and the model's answer under a soft mask, through which a
gradient reaches whatever the mask is made from.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.prepared import Prepared
from circuit_transfer.interventions import answer_logits, mixing, pushing
from circuit_transfer.models.nodes import count_kept


def circuit_masks(scores: Tensor, proportions: Sequence[float]) -> Tensor:
    """Return the circuit of every size for every ranking, highest signed score first.

    Args:
        scores: `(rankings, n_nodes)`; equal scores rank in the order of the nodes.
        proportions: shares of the nodes to keep, rounded down to whole nodes.

    Returns:
        float32 `(rankings, sizes, n_nodes)` of ones and zeros.
    """
    n_nodes = scores.shape[1]
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    kept = torch.tensor([count_kept(p, n_nodes) for p in proportions])
    return (rank[:, None, :] < kept[None, :, None]).float()


def soft_circuit(scores: Tensor, kept: int, softness: float) -> Tensor:
    """Return the circuit of one size with a soft boundary, `(n_nodes,)`.

    A sigmoid of the standardised scores, centred half way between the last node inside
    and the first one outside. The smaller the softness, the nearer it is to the circuit
    of `circuit_masks`.

    Args:
        scores: `(n_nodes,)`.
        kept: number of nodes, between 0 and all, exclusive.
        softness: width of the boundary, in standard deviations of the scores.
    """
    standardised = (scores - scores.mean()) / (scores.std() + 1e-6)
    ranked = standardised.detach().sort(descending=True).values
    boundary = (ranked[kept - 1] + ranked[kept]) / 2
    return torch.sigmoid((standardised - boundary) / softness)


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
