"""The agreement of scores with exact effects, of known correlations."""

import numpy as np
import pytest

from circuit_transfer.circuits.similarity import pearson, spearman
from circuit_transfer.circuits.verification import highest_edges, verify_scores


def test_the_highest_edges_are_those_of_the_largest_scores():
    scores = np.array([0.5, -3.0, 3.0, 1.0, -0.5])
    assert highest_edges(scores, 3).tolist() == [1, 2, 3]
    assert len(highest_edges(scores, 9)) == 5


def test_the_interval_is_that_of_the_correlation():
    """Of Fisher's transformation, for two normal variables."""
    random, n, rho = np.random.default_rng(0), 400, 0.8
    exact = random.normal(size=n)
    scores = rho * exact + np.sqrt(1 - rho**2) * random.normal(size=n)
    found = verify_scores(scores, exact)
    assert found["pearson"] == pytest.approx(pearson(scores, exact))
    assert found["spearman"] == pytest.approx(spearman(scores, exact))
    z, half = np.arctanh(found["pearson"]), 1.96 / np.sqrt(n - 3)
    bounds = found["pearson_low"], found["pearson_high"]
    assert bounds == pytest.approx(np.tanh([z - half, z + half]), abs=0.007)
    # Ranks do not change by a monotonic function; more edges say more.
    cubed = verify_scores(scores**3, exact)
    names = [f"spearman{each}" for each in ("", "_low", "_high")]
    assert [cubed[name] for name in names] == [found[name] for name in names]
    few = verify_scores(scores[:40], exact[:40])
    assert few["pearson_low"] < found["pearson_low"]


def test_signs_and_the_share_that_is_covered_are_counted():
    found = verify_scores(np.array([3.0, -2.0, 1.0]), np.array([6.0, 1.0, 2.0]), 8.0)
    assert found["sign"] == pytest.approx(2 / 3) and found["covered"] == 0.75
    assert "covered" not in verify_scores(np.ones(2), np.ones(2))


def test_what_does_not_vary_has_no_correlation():
    for scores in (np.ones(3), np.ones(1)):
        found = verify_scores(scores, 2 * scores)
        names = ("pearson", "spearman", "pearson_low", "spearman_high")
        assert np.isnan([found[name] for name in names]).all()


def test_the_same_scores_have_the_same_interval(monkeypatch):
    """However many resamples are in memory at a time."""
    scores, exact = np.random.default_rng(1).normal(size=(2, 30))
    found = verify_scores(scores, exact)
    assert verify_scores(scores, exact) == found
    module = "circuit_transfer.circuits.verification.ENTRIES"
    monkeypatch.setattr(module, 30 * 7)
    assert verify_scores(scores, exact) == found
