"""How small an effect is, and what it takes to show one, against textbook numbers."""

import numpy as np
import pytest
from scipy import stats

from circuit_transfer.statistics import sign_flip_p
from circuit_transfer.tables.equivalence import (
    equivalence_bound,
    least_p,
    units_needed,
)


def scaled(mean, deviation, n=12):
    """Differences of this mean and standard deviation."""
    values = np.arange(n, dtype=float) ** 1.5
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize("mean", [0.02, -0.02])
def test_the_bound_is_where_two_one_sided_tests_turn(mean):
    values = scaled(mean, 0.03)
    bound = equivalence_bound(values)
    # Of the table of Student's t: 1.796 for 11 degrees of freedom, one-sided .05.
    assert bound == pytest.approx(0.02 + 1.796 * 0.03 / np.sqrt(12), abs=1e-5)
    upper = stats.ttest_1samp(values, bound, alternative="less").pvalue
    lower = stats.ttest_1samp(values, -bound, alternative="greater").pvalue
    assert max(upper, lower) == pytest.approx(0.05)


def test_one_difference_has_no_bound():
    assert np.isnan(equivalence_bound(np.array([0.1])))
    assert equivalence_bound(np.full(5, -0.1)) == pytest.approx(0.1)


# (1.95996 + 0.84162)^2 = 7.8489, over the square of d_z.
@pytest.mark.parametrize(("d_z", "n"), [(0.5, 32), (1.0, 8), (0.2, 197), (3.0, 6)])
def test_units_that_an_effect_needs(d_z, n):
    assert units_needed(scaled(d_z, 1.0)) == n


@pytest.mark.parametrize("values", [scaled(-1.0, 1.0), np.zeros(4), np.array([1.0])])
def test_no_number_of_units_shows_what_is_not_better_or_has_no_size(values):
    assert units_needed(values) is None


def test_the_least_p_is_that_of_differences_of_one_sign():
    for n in (2, 6, 12):
        assert least_p(n) == sign_flip_p(np.arange(1.0, n + 1))
