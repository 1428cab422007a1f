"""How small an effect is shown to be, and how many units it takes to show one.

The unit is what the test is over, such as families of tasks. See Lakens, Equivalence
tests (2017), on two one-sided tests and on what d_z says about the size of a sample.
"""

from math import ceil

import numpy as np
from scipy import stats

from circuit_transfer.statistics import paired_effect, t_interval

LEVEL, POWER = 0.05, 0.8
# Above this many, an effect is as good as none.
MOST_UNITS = 10**6


def equivalence_bound(differences: np.ndarray) -> float:
    """Return the smallest bound that an effect is shown to be within, at `LEVEL`.

    By two one-sided t tests an effect is within a bound exactly if Student's 90 %
    interval of the mean is, so the bound is the end of it that is farther from 0. NaN
    for fewer than two differences.

    Args:
        differences: paired ones, `(n,)`, one per unit.
    """
    ends = t_interval(differences, level=1 - 2 * LEVEL)
    return float(np.max(np.abs(ends)))


def least_p(n: int) -> float:
    """Return the smallest two-sided p value that `n` sign flips can give."""
    return 2.0 ** (1 - n)


def units_needed(differences: np.ndarray) -> int | None:
    """Return how many units it takes to show an effect of this size.

    With power `POWER` at two-sided `LEVEL`, by the normal approximation
    `((z_{.975} + z_{.8}) / d_z)^2`; at least as many as the sign-flip test needs to be
    significant at all. None where the effect is not positive, or its size is unknown.

    Args:
        differences: paired ones, `(n,)`, one per unit, of which positive are better.
    """
    d_z = paired_effect(differences)
    if not d_z > 0:
        return None
    z = stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)
    needed = ceil(min((z / d_z) ** 2, MOST_UNITS))
    fewest = next(n for n in range(1, 100) if least_p(n) <= LEVEL)
    return max(needed, fewest)
