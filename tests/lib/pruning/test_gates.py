"""Hard concrete gates, against the closed form of their law."""

import numpy as np
import pytest
import torch

from circuit_transfer.pruning import gates

LOG_ALPHAS = (-3.0, -0.5, 0.0, 1.0, 4.0)


def cdf(value, log_alpha):
    """Return P(z <= value): of s, the sigmoid of (noise + log alpha) / T."""
    s = (value + 0.1) / 1.2
    logit = np.log(s / (1 - s))
    return 1 / (1 + np.exp(-(2 / 3 * logit - log_alpha)))


@pytest.mark.parametrize("log_alpha", LOG_ALPHAS)
def test_drawn_gates_have_the_law_of_the_hard_concrete_distribution(log_alpha):
    draws = 200_000
    every = torch.full((1, draws), log_alpha)
    drawn = gates.sample(every, [np.random.default_rng(0)])[0].numpy()
    assert drawn.min() >= 0 and drawn.max() <= 1
    error = 4 / draws**0.5
    assert abs((drawn == 0).mean() - cdf(0.0, log_alpha)) < error
    assert abs((drawn == 1).mean() - (1 - cdf(1.0, log_alpha))) < error
    for value in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert abs((drawn <= value).mean() - cdf(value, log_alpha)) < error
    median = gates.median(torch.tensor(log_alpha)).item()
    assert abs(np.median(drawn) - median) < 0.02


@pytest.mark.parametrize("log_alpha", LOG_ALPHAS)
def test_probabilities_and_the_density_are_those_of_the_law(log_alpha):
    one = torch.tensor(log_alpha, dtype=torch.float64)
    for value in (0.0, 0.25, 0.999):
        found = gates.above(one, value).item()
        assert found == pytest.approx(1 - cdf(value, log_alpha), rel=1e-9)
    assert gates.open_probability(one) == gates.above(one, 0.0)
    assert gates.whole_probability(one).item() == pytest.approx(1 - cdf(1.0, log_alpha))
    logarithm = gates.log_open_probability(one).exp().item()
    assert logarithm == pytest.approx(gates.open_probability(one).item())
    again = gates.log_alpha_of(gates.open_probability(one)).item()
    assert again == pytest.approx(log_alpha)
    # The density is the slope of the law, and adds up to what is neither 0 nor 1.
    values = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    density = gates.density(one, values).numpy()
    slope = np.gradient(cdf(values.numpy(), log_alpha), values.numpy())
    np.testing.assert_allclose(density[1:-1], slope[1:-1], rtol=1e-3)
    between = cdf(1.0, log_alpha) - cdf(0.0, log_alpha)
    assert np.trapezoid(density, values) == pytest.approx(between, rel=1e-6)


def test_a_median_gate_is_open_where_gates_are_more_often_open_than_closed():
    log_alpha = torch.linspace(-4, 4, 801)
    more_often = gates.open_probability(log_alpha) > 0.5
    assert torch.equal(gates.median(log_alpha) > 0, more_often)
    assert 0 < more_often.sum() < len(log_alpha)


def test_gates_have_the_gradient_of_what_is_not_clipped():
    log_alpha = torch.linspace(-3, 3, 50, dtype=torch.float64)[None].requires_grad_()

    def drawn(values):
        return gates.sample(values, [np.random.default_rng(1)])

    value = drawn(log_alpha)
    (gradient,) = torch.autograd.grad(value.sum(), log_alpha)
    step = 1e-6
    with torch.no_grad():
        moved = (drawn(log_alpha + step) - drawn(log_alpha - step)) / (2 * step)
    torch.testing.assert_close(gradient, moved, rtol=1e-4, atol=1e-8)
    clipped = (value == 0) | (value == 1)
    assert clipped.any() and not gradient[clipped].any()
    assert (gradient[~clipped] > 0).all()


def test_extreme_noise_gives_finite_gates():
    class Ends:
        def random(self, shape, dtype):
            return np.array([0.0, 1.0], dtype)

    assert gates.sample(torch.zeros(1, 2), [Ends()]).tolist() == [[0, 1]]
