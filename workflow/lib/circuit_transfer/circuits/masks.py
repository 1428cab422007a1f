"""From a ranking of the nodes to circuits, as masks: 1 inside, 0 outside.

A soft circuit has values in between, through which a gradient reaches the scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_transfer.models.nodes import circuit_size


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
    kept = torch.tensor([circuit_size(p, n_nodes) for p in proportions])
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
