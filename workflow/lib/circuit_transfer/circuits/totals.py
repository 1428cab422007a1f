"""Sums of gradients over the steps of integrated gradients."""

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor


class Total:
    """A sum of gradients over steps, in float32 whatever the model computes in.

    Its first gradients become its sums, in place: it must be the only one whose first
    they are, as the totals of different numbers of steps are.
    """

    def __init__(self, steps: int):
        """Start without a gradient; `steps` is how many there will be."""
        self.steps = steps
        self.sums: list[Tensor] = []

    def includes(self, share: Fraction) -> bool:
        """Return whether one of its steps is at a share of the way."""
        return self.steps % share.denominator == 0

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Add one gradient of every kind, in the order of the first ones."""
        if not self.sums:
            self.sums = [gradient.float() for gradient in gradients]
        else:
            for total, gradient in zip(self.sums, gradients, strict=True):
                total += gradient

    def mean(self) -> list[Tensor]:
        """Return the sums over the number of steps, float32."""
        return [total / self.steps for total in self.sums]
