"""From a ranking of the nodes to circuits, as masks: 1 inside, 0 outside.

A soft circuit has values in between, through which a gradient reaches the scores. A
ranking is trained for all sizes at once by soft circuits of sizes that are drawn.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.models.nodes import circuit_size

# The softness of a circuit's boundary at the first and at the last step of a training,
# in standard deviations of the scores; in between it decays geometrically.
SOFTNESS = (0.5, 0.1)


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


def softness_at(share: float, ends: tuple[float, float] = SOFTNESS) -> float:
    """Return the softness of the boundary after a share of the steps.

    Args:
        share: of the steps.
        ends: the softness at the first and at the last step, see `SOFTNESS`.
    """
    first, last = ends
    return first * (last / first) ** share


def size_weights(proportions: Sequence[float], count: int) -> dict[int, float]:
    """Return the weight of every circuit size in the area under its curve, by its size.

    The weights of the trapezoid rule. The empty and the full circuit, which are the
    same for every ranking, are left out.

    Args:
        proportions: the evaluated sizes, ascending, as shares of all.
        count: how many nodes or edges there are.
    """
    sizes = np.asarray(proportions, float)
    widths = np.diff(sizes)
    weights = (np.append(widths, 0) + np.append(0, widths)) / 2
    found: dict[int, float] = {}
    for proportion, weight in zip(proportions, weights, strict=True):
        kept = circuit_size(proportion, count)
        if 0 < kept < count:
            found[kept] = found.get(kept, 0) + float(weight)
    return found


def drawn_sizes(weights: Mapping[int, float], seed: int) -> Iterator[int]:
    """Draw a circuit size for every step, in proportion to its weight.

    Args:
        weights: by size, see `size_weights`.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    sizes, counts = list(weights), np.array(list(weights.values()))
    while True:
        yield int(generator.choice(sizes, p=counts / counts.sum()))
