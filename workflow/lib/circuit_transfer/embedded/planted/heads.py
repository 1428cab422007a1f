"""Attention heads that attend to a fixed place, by rotary positions alone."""

from math import cos, sin

import torch
from torch import Tensor

# The scale of the scores, with which a head attends to one place only.
CERTAIN = 4000.0


def attend_back(one: Tensor, d_head: int, steps: float) -> tuple[Tensor, Tensor]:
    """Return queries and keys that attend so many positions back.

    Query and key are constants in the fastest pair of rotary positions, whose angle is
    the position: their product is `cos(distance - steps)`.

    Args:
        one: what reads 1 from the constant component, `(width,)`.
        d_head: width of the head.
        steps: how many positions back.

    Returns:
        What the query and the key read, `(d_head, width)` each.
    """
    size = (CERTAIN * d_head**0.5) ** 0.5
    query = torch.zeros(d_head, len(one), dtype=one.dtype)
    key = query.clone()
    query[0] = size * one
    key[0], key[d_head // 2] = size * cos(steps) * one, size * sin(steps) * one
    return query, key
