"""The parts of DiscoGP against closed forms: gates, losses, settings."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, logistic

from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.discogp_losses import (
    right_answer_loss,
    same_answers_loss,
    uniform_loss,
)
from circuit_transfer.pruning.discogp_settings import DiscoGP, discogp_settings
from circuit_transfer.pruning.straight_through import logistic_noise, straight_through


def test_noise_is_logistic_and_gates_open_with_the_probability_of_their_logits():
    generator = torch.Generator().manual_seed(0)
    noise = logistic_noise((20000,), generator)
    assert kstest(noise.numpy(), logistic.cdf).pvalue > 0.01
    for logit in (-2.0, 0.0, 1.0):
        gates = straight_through(torch.full((20000,), logit), noise, 0.01)
        assert set(gates.tolist()) == {0.0, 1.0}
        expected = 1 / (1 + np.exp(-logit))
        assert gates.mean().item() == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gates_have_the_gradient_of_their_relaxation(temperature):
    logits = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    noise = torch.linspace(1, -2, 13, dtype=torch.float64)
    gates = straight_through(logits, noise, temperature)
    assert torch.equal(gates, (logits + noise > 0).double())
    (found,) = torch.autograd.grad(gates.sum(), logits)
    relaxed = 1 / (1 + torch.exp(-(logits + noise) / temperature))
    torch.testing.assert_close(found, relaxed * (1 - relaxed) / temperature)
    high, low = (
        torch.sigmoid((logits + step + noise) / temperature) for step in (1e-6, -1e-6)
    )
    torch.testing.assert_close(found, (high - low) / 2e-6, rtol=1e-6, atol=1e-8)


# Losses


def test_losses_are_cross_entropies_among_the_answers_that_there_are():
    logits = torch.tensor([[1.0, 3.0, 0.5, -1.0, 9.0], [0.2, 0.1, 2.0, 1.0, 9.0]])
    other = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 3.0, 0.0]])
    batch = PairBatch(
        torch.zeros(2, 1),
        torch.zeros(2, 1),
        torch.tensor([[1, 0], [3, -1]]),
        torch.tensor([[2], [0]]),
    )
    rows = [(logits[0, [1, 0, 2]], other[0, [1, 0, 2]], 2), (logits[1, [3, 0]],) * 1]
    rows[1] = (logits[1, [3, 0]], other[1, [3, 0]], 1)
    right, uniform, same = [], [], []
    for own, target, count in rows:
        shares = own.exp() / own.exp().sum()
        right.append(-shares[:count].sum().log())
        uniform.append(-shares.log().mean())
        same.append(-(target.exp() / target.exp().sum() * shares.log()).sum())

    def mean(values):
        return torch.stack(values).mean()

    torch.testing.assert_close(right_answer_loss(batch, logits), mean(right))
    torch.testing.assert_close(uniform_loss(batch, logits), mean(uniform))
    torch.testing.assert_close(same_answers_loss(batch, logits, other), mean(same))


def test_the_weight_of_the_density_rises_and_falls_as_published():
    settings = discogp_settings({"preset": "paper"})
    edges = [settings.density_weight("edge", d) for d in (0, 0.1, 0.2, 0.3, 0.4, 1)]
    assert edges == pytest.approx([1, 50.5, 100, 50.005, 0.01, 0.01])
    weights = [settings.density_weight("weight", d) for d in (0, 0.5, 0.999)]
    assert weights == pytest.approx([1, 500.5, 999.001])
    assert (settings.weight_temperature, settings.edge_temperature) == (0.01, 1)
    assert (settings.weight_init, settings.edge_init) == (1, 1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"masks": "heads"}, "masks is heads; expected one of both, weights, edges"),
        ({"preset": "large"}, "preset is large; expected one of small, paper"),
        ({"edge_steps": 0}, "edge_steps is 0; expected above 0"),
        ({"weight_density_max": -1}, "weight_density_max is -1; expected 0 or above"),
        ({"edge_warmup": 2}, "edge_warmup is 2; expected a share of the steps"),
        ({"temperature": 1}, "temperature: there is no such setting; expected one of"),
    ],
)
def test_bad_settings_are_refused(section, message):
    with pytest.raises(ValueError, match=message):
        discogp_settings(section)


def test_a_setting_that_is_null_has_the_value_of_the_preset():
    found = discogp_settings({"preset": None, "masks": None, "edge_steps": 7})
    assert found == DiscoGP(edge_steps=7)
