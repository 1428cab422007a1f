"""Hard concrete gates: random numbers from 0 to 1 that are often exactly 0 or 1.

Louizos et al. (arXiv 1712.01312), with the settings of Edge Pruning (arXiv 2406.16778):
a logistic noise is added to a gate's log alpha, the sigmoid of the sum divided by a
temperature is stretched beyond 0 and 1, and clipped. A gradient reaches log alpha
through what is not clipped.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3
# Keeps the uniform noise from 0 and 1, where its logit is infinite.
EPSILON = 1e-6


def sample(log_alpha: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Return gates that are drawn, the same ones on every device.

    Args:
        log_alpha: of the gates, `(rows, gates)`.
        generators: of the noise, one for each row.
    """
    count = log_alpha.shape[1]
    rows = [each.random(count, np.float32) for each in generators]
    uniform = torch.from_numpy(np.stack(rows)).to(log_alpha.device)
    noise = torch.logit(uniform.clamp(EPSILON, 1 - EPSILON))
    return _clipped((noise + log_alpha) / TEMPERATURE)


def median(log_alpha: Tensor) -> Tensor:
    """Return the gates' medians: their values without noise."""
    return _clipped(log_alpha / TEMPERATURE)


def above(log_alpha: Tensor, value: float) -> Tensor:
    """Return the probability that a gate is above a value.

    Args:
        log_alpha: of the gates.
        value: at least 0 and less than 1: at 0 the probability that a gate is not
            closed, just below 1 that it is entirely open.
    """
    return torch.sigmoid(log_alpha - TEMPERATURE * _logit_of(value))


def density(log_alpha: Tensor, value: Tensor) -> Tensor:
    """Return the density of a gate's values strictly between 0 and 1.

    Args:
        log_alpha: of the gates.
        value: where, broadcasting with them.
    """
    share = (value - LOW) / (HIGH - LOW)
    probability = torch.sigmoid(log_alpha - TEMPERATURE * torch.logit(share))
    slope = TEMPERATURE / (share * (1 - share) * (HIGH - LOW))
    return probability * (1 - probability) * slope


def open_probability(log_alpha: Tensor, steepness: float = 1.0) -> Tensor:
    """Return the probability that a gate is not closed.

    Args:
        log_alpha: of the gates.
        steepness: of 1 for the probability; the higher, the nearer it is to 1 for gates
            that are more often open than closed, and to 0 for the others.
    """
    return torch.sigmoid(steepness * (log_alpha - TEMPERATURE * _logit_of(0.0)))


def log_open_probability(log_alpha: Tensor) -> Tensor:
    """Return its logarithm, which ranks gates where the probability rounds to 1."""
    return torch.nn.functional.logsigmoid(log_alpha - TEMPERATURE * _logit_of(0.0))


def whole_probability(log_alpha: Tensor) -> Tensor:
    """Return the probability that a gate is entirely open, exactly 1."""
    return above(log_alpha, 1.0)


def log_alpha_of(probability: Tensor) -> Tensor:
    """Return the log alpha of gates that are not closed with some probability."""
    return torch.logit(probability) + TEMPERATURE * _logit_of(0.0)


def _clipped(logits: Tensor) -> Tensor:
    stretched = torch.sigmoid(logits) * (HIGH - LOW) + LOW
    return stretched.clamp(0, 1)


def _logit_of(value: float) -> float:
    """Return the logit of what is stretched to a value."""
    share = (value - LOW) / (HIGH - LOW)
    return math.log(share / (1 - share))
