"""Straight-through gates: open or closed in the forward pass, smooth in the backward.

A gate with logit l opens with probability sigmoid(l) (DiscoGP, arXiv 2407.03779, after
the Gumbel-softmax of arXiv 1611.01144): with logistic noise n, it is open where
r = sigmoid((l + n) / temperature) is above a half, and has the gradient of r. Without
noise it is open where l is positive.
"""

import torch
from torch import Tensor

# The smallest distance of a uniform number from 0 and 1, whose logit is the noise.
EDGE = 1e-6


def logistic_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return logistic noise, float32, on the device of the generator.

    Args:
        shape: of the logits.
        generator: draws it.
    """
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return torch.logit(drawn, eps=EDGE)


def straight_through(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return gates of zeros and ones, with the gradient of their relaxation.

    Args:
        logits: of the gates.
        noise: added to them, of the same shape.
        temperature: of the relaxation; a small one has a gradient only where logit and
            noise nearly cancel.
    """
    relaxed = torch.sigmoid((logits + noise) / temperature)
    open_ = (relaxed > 0.5).to(relaxed)
    # The difference of equal numbers is zero, so that gates are exactly 0 or 1.
    return open_ + (relaxed - relaxed.detach())
