"""Hold the share of open gates at a target, by the multiplier of a Lagrangian.

A multiplier that is `trained` is that of Edge Pruning (arXiv 2406.16778, Section 3): to
the loss is added `l1 * excess + l2 * excess^2` of the expected share, of which the
multipliers follow the gradient upwards while the gates follow it downwards. Short
trainings miss the target by it: the multipliers grow while the gates still lag behind,
and gates that close too many never open again.

An `exact` multiplier is that by which a small step along the gradient leaves the share
as it is. All log alphas are lowered by a shift, which is solved for in every step, and
through which the gradient runs: so gates compete, and the share is at its target.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_transfer.pruning.settings import EdgePruning

# Between which shifts of log alpha that one is which holds the target, and how often
# the interval is halved.
FURTHEST, HALVINGS = 100.0, 40
# The count of open gates gets steeper during the training, up to this, so that in the
# end as many gates are more often open than closed, and few are in between.
SHARPEST = 4.0


class Target:
    """The share of open gates that each of several trainings has in a step.

    Attributes:
        start: the shares in the beginning, `(targets,)`.
    """

    def __init__(
        self,
        finals: Sequence[float],
        start: Tensor,
        settings: EdgePruning,
    ):
        """Take where the targets start and end.

        Args:
            finals: the shares in the end.
            start: the shares in the beginning, those that are open then: from higher
                ones trained multipliers would first fall far below zero.
            settings: how the targets fall.
        """
        self._finals = start.new_tensor(finals)
        self.start, self._settings = start, settings

    def at(self, step: int) -> Tensor:
        """Return the targets in a step, `(targets,)`."""
        falling = self._settings.warmup * self._settings.steps
        share = min(1.0, (step + 1) / falling) if falling else 1.0
        if self._settings.ramp == "geometric":
            return self.start * (self._finals / self.start) ** share
        return self.start + share * (self._finals - self.start)


class Multipliers:
    """Trained multipliers, one pair for every target."""

    def __init__(self, targets: int, rate: float, device: torch.device):
        """Start with multipliers of zero, which learn at a rate."""
        self.values = torch.zeros(2, targets, device=device).requires_grad_()
        self._rate = rate

    def group(self) -> dict[str, Any]:
        """Return the group of parameters of the optimiser."""
        return {"params": [self.values], "lr": self._rate, "maximize": True}

    def penalty(self, excess: Tensor) -> Tensor:
        """Return what is added to the losses.

        Args:
            excess: the expected share of open gates minus the target, `(targets,)`.
        """
        linear, square = self.values
        return linear * excess + square * excess.square()


def sharpness(share: float) -> float:
    """Return how steep the count of open gates is after a share of the steps."""
    return 1 + (SHARPEST - 1) * share


class Shift:
    """How far log alphas are lowered, so that the count of open gates is at a target.

    Attributes:
        value: `(targets,)`, with a gradient for what is counted.
        slope: by how much the count falls with the shift.
    """

    def __init__(
        self, count: Callable[[Tensor, float], Tensor], target: Tensor, steep: float
    ):
        """Solve for the shift.

        Args:
            count: returns the share of open gates for shifts `(targets,)`, which falls
                with these, and for a steepness; of 1 it is the expected share.
            target: the shares that are held; if even the furthest shifts do not reach
                them, these are taken.
            steep: the steepness with which the target is held. The gradient is that of
                the expected share.
        """
        with torch.no_grad():
            low = torch.full_like(target, -FURTHEST)
            high = -low
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                too_many = count(middle, steep) > target
                low = torch.where(too_many, middle, low)
                high = torch.where(too_many, high, middle)
        solved = high.requires_grad_()
        counted = count(solved, 1.0)
        (slope,) = torch.autograd.grad(counted.sum(), solved, retain_graph=True)
        self.slope = -slope.detach().clamp(max=-1e-12)
        # Its value stays, and its gradient is that of the implicit function.
        self.value = solved.detach() + (counted - counted.detach()) / self.slope
        if self.value.requires_grad:
            self.value.retain_grad()

    def multiplier(self) -> Tensor:
        """Return by how much the loss would fall per share of gates that were open.

        Known after the backward pass.
        """
        if self.value.grad is None:
            return torch.zeros_like(self.slope)
        return self.value.grad / self.slope
