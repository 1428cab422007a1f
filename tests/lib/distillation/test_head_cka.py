"""CKA against closed forms, Song's own formula, and its values without similarity."""

import numpy as np
import pytest
import torch

from circuit_transfer.distillation.cka import ESTIMATORS, cka
from circuit_transfer.transfer.cka import node_similarity


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_samples(x, y, estimator):
    """Return HSIC by the matrices of products of samples, as it is published."""
    k, v = (each @ each.T for each in (np.asarray(x), np.asarray(y)))
    m = len(k)
    if estimator == "biased":
        centring = np.eye(m) - 1 / m
        return np.trace(k @ centring @ v @ centring) / (m - 1) ** 2
    np.fill_diagonal(k, 0)
    np.fill_diagonal(v, 0)
    ones = np.ones(m)
    found = np.trace(k @ v)
    found += (ones @ k @ ones) * (ones @ v @ ones) / ((m - 1) * (m - 2))
    found -= 2 / (m - 2) * (ones @ k @ v @ ones)
    return found / (m * (m - 3))


def expected(x, y, estimator):
    norms = by_samples(x, x, estimator) * by_samples(y, y, estimator)
    return by_samples(x, y, estimator) / np.sqrt(norms)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize("m, p, q", [(4, 3, 3), (9, 5, 2), (30, 4, 40)])
def test_products_of_features_give_what_those_of_samples_give(estimator, m, p, q):
    # Not centred: a common shift must not matter.
    x, y = draw(m, p) + 3, draw(m, q, seed=1) - 2
    y[:, :2] += x[:, :2]
    found = cka(x, y, estimator).item()
    assert found == pytest.approx(expected(x, y, estimator), rel=1e-9)
    hsic = ESTIMATORS[estimator](x - x.mean(0), y - y.mean(0)).item()
    assert hsic == pytest.approx(by_samples(x, y, estimator), rel=1e-9)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_rotation_scale_and_shift_of_the_features_give_one(estimator):
    x = draw(12, 5)
    rotation = torch.linalg.qr(draw(5, 5, seed=1)).Q
    same = torch.stack([x, x @ rotation, -3 * x, x + draw(5, seed=2), 1e-9 * x])
    torch.testing.assert_close(cka(x, same, estimator), torch.ones(5).double())


def test_small_cases_by_hand():
    # One feature each: x = (1, -1, 0, 0), y = (1, 1, -1, -1) / (1, -1, 1, -1).
    x = torch.tensor([[1.0], [-1], [0], [0]]).double()
    y = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double()
    # x'y = (0, 2), x'x = 2, y'y = 4 I: 4 / (2 sqrt(32)).
    assert cka(x, y, "biased").item() == pytest.approx(1 / np.sqrt(8))
    # k = (1, 1, 0, 0), l = (2, 2, 2, 2): HSIC(x, y) is 4 - 2 * 4 + 2 * 8 / 6 over 4,
    # HSIC(x, x) is 4 - 2 * 2 + 4 / 6, HSIC(y, y) is 32 - 2 * 16 + 64 / 6.
    debiased = (4 - 8 + 16 / 6) / np.sqrt(4 / 6 * 64 / 6)
    assert cka(x, y).item() == pytest.approx(debiased)


@pytest.mark.parametrize("m, mean", [(8, 0.90), (32, 0.67), (128, 0.33), (512, 0.11)])
def test_independent_features_have_the_known_distribution(m, mean):
    draws = 20 if m > 100 else 400
    x, y = draw(draws, m, 64), draw(draws, m, 64, seed=1)
    assert cka(x, y, "biased").mean().item() == pytest.approx(mean, abs=0.01)
    debiased = cka(x, y)
    assert abs(debiased.mean().item()) < 0.01
    if draws > 100:
        # The correlation of two matrices of m (m - 3) / 2 independent entries.
        spread = np.sqrt(2 / (m * (m - 3)))
        assert debiased.std().item() == pytest.approx(spread, rel=0.1)


def test_pairs_side_by_side_are_those_one_by_one():
    x, y = draw(3, 10, 4), draw(2, 10, 6, seed=1)
    found = cka(x[:, None], y)
    for row, column in np.ndindex(3, 2):
        one = cka(x[row], y[column])
        torch.testing.assert_close(found[row, column], one)


def test_the_biased_one_is_the_similarity_of_nodes():
    x, y = draw(3, 10, 4), draw(2, 10, 6, seed=1)
    x, y = (each - each.mean(1, keepdim=True) for each in (x, y))
    found = node_similarity(list(x), list(y))
    np.testing.assert_allclose(cka(x[:, None], y, "biased"), found, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_gradients_are_those_of_finite_differences(estimator):
    x, y = (draw(2, 6, 3, seed=seed).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda x, y: cka(x, y, estimator), (x, y))


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_features_that_do_not_vary_are_like_no_others(estimator, value):
    rounding = 1e-7 * value * draw(9, 3, seed=2)
    x = (value + rounding).float().requires_grad_()
    y = draw(9, 3, seed=1).float()
    found = cka(torch.stack([x, y]), y, estimator)
    torch.testing.assert_close(found.detach(), torch.tensor([0.0, 1.0]))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert (gradient == 0).all()


def test_samples_that_are_all_equally_far_from_each_other_are_like_no_others():
    # Their products differ from each other on the diagonal alone.
    x = torch.eye(4).double().requires_grad_()
    found = cka(x, draw(4, 3))
    assert found.item() == 0
    assert torch.autograd.grad(found, x)[0].isfinite().all()


@pytest.mark.parametrize("size", [1e-6, 1e5])
def test_size_of_the_activations_does_not_matter_in_float32(size):
    x, y = draw(128, 64).float(), draw(128, 64, seed=1).float()
    y = x + y
    torch.testing.assert_close(cka(size * x, y), cka(x, y), rtol=1e-4, atol=0)


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(ValueError, match="debiased CKA of 3 samples: expected at leas"):
        cka(draw(3, 2), draw(3, 2))
    cka(draw(3, 2), draw(3, 2), "biased")
    with pytest.raises(ValueError, match="biased CKA of 1 samples"):
        cka(draw(1, 2), draw(1, 2), "biased")
    with pytest.raises(ValueError, match="features of 5 and of 6 samples"):
        cka(draw(5, 2), draw(6, 2))
    with pytest.raises(ValueError, match="'unbiased' is not one of debiased, biased"):
        cka(draw(5, 2), draw(5, 2), "unbiased")
