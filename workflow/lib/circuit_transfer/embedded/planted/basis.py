"""Directions of the residual stream, and a norm that is linear on it.

Every token embedding has the same large component along one direction, in comparison
with which all signals are small. The root of the mean square is then a constant, and a
norm a multiplication by a known number, up to a relative error of
`signal^2 / (2 constant^2)`. Since the component is the same on every prompt, no
counterfactual or mean ablation removes it; zero ablation does.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Basis:
    """Orthonormal directions of the residual stream, given out one subspace at a time.

    They are rotated at random, so that none is an axis, and all but an unused one have
    mean zero: LayerNorm, which subtracts the mean, leaves them as they are.

    Attributes:
        width: of the residual stream.
        generator: draws the rotation.
        constant: direction of the large component, `(width,)`.
    """

    width: int
    generator: torch.Generator
    constant: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Draw the directions."""
        drawn = torch.randn(
            self.width, self.width, generator=self.generator, dtype=torch.float64
        )
        drawn[:, 0] = 1.0
        self._directions, self._used = torch.linalg.qr(drawn)[0], 1
        self.constant = self.subspace(1)[:, 0]

    def subspace(self, dimensions: int) -> Tensor:
        """Return directions that were not given out before, `(width, dimensions)`.

        Raises:
            ValueError: there are not so many left.
        """
        end = self._used + dimensions
        if end > self.width:
            raise ValueError(f"{self.width} directions: {end} are needed")
        self._used, start = end, self._used
        return self._directions[:, start:end]


def width_for(dimensions: int, heads: int) -> int:
    """Return the smallest width of a residual stream with so many signal directions.

    A head has an even share of it, since rotary positions turn pairs; two directions
    are the constant and the one whose mean is not zero.
    """
    unit = 2 * heads
    return -(-(dimensions + 2) // unit) * unit
