"""Hold the share of open gates at a target, by multipliers that are trained as well.

The Lagrangian of Edge Pruning (arXiv 2406.16778, Section 3): to the loss is added
`l1 * excess + l2 * excess^2`, of which the multipliers follow the gradient upwards
while the gates follow it downwards. The target falls to its final value in the first
part of the training. The share is the expected one, which has less variance than that
of the drawn gates.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_transfer.pruning.settings import EdgePruning


class Constraint:
    """The multipliers of several targets side by side."""

    def __init__(
        self,
        targets: Sequence[float],
        start: float,
        settings: EdgePruning,
        device: torch.device,
    ):
        """Start with multipliers of zero.

        Args:
            targets: final shares of open gates.
            start: the share at which the targets start, that which is open then.
                Starting above it would let the multipliers fall far below zero.
            settings: how the targets fall, and how the multipliers learn.
            device: of the multipliers.
        """
        self.multipliers = torch.zeros(2, len(targets), device=device)
        self.multipliers.requires_grad_()
        self._targets = torch.tensor(targets, dtype=torch.float32, device=device)
        self._start, self._settings = start, settings

    def group(self) -> dict[str, Any]:
        """Return the group of parameters of the optimiser."""
        rate = self._settings.multiplier_rate
        return {"params": [self.multipliers], "lr": rate, "maximize": True}

    def target(self, step: int) -> Tensor:
        """Return the targets in a step, `(targets,)`."""
        falling = self._settings.warmup * self._settings.steps
        share = min(1.0, (step + 1) / falling) if falling else 1.0
        if self._settings.ramp == "geometric":
            return self._start * (self._targets / self._start) ** share
        return self._start + share * (self._targets - self._start)

    def penalty(self, open_share: Tensor, step: int) -> Tensor:
        """Return what is added to the losses, `(targets,)`.

        Args:
            open_share: the expected shares of open gates, `(targets,)`.
            step: number of the step.
        """
        target = self.target(step)
        excess = open_share - target
        if self._settings.excess == "relative":
            excess = excess / target
        linear, square = self.multipliers
        return linear * excess + square * excess.square()
