from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fits import (
    PRIOR,
    SETTINGS,
    SOURCES,
    N,
    only,
    scaled_prior,
    train,
    under_masks,
)

from circuit_transfer.transfer.objectives import (
    alignment_loss,
)
from circuit_transfer.transfer.trained_maps import initial_alignment


def test_the_penalty_holds_a_map_at_its_prior(model, prepared):
    def distance(penalty):
        settings = replace(SETTINGS, epochs=10, prior_penalty=penalty)
        found = train(model, prepared, SOURCES, settings, seed=5, prior=PRIOR)
        moved = found.alignment.numpy() - scaled_prior(SOURCES, settings.prior_scale)
        return np.square(moved).sum() + found.bias.square().sum().item()

    assert distance(100.0) < 0.3 * distance(0.0)


def test_a_step_with_a_prior_follows_the_loss(model, prepared):
    settings = replace(SETTINGS, epochs=1, prior_penalty=0.5)
    one, sources = only(prepared, 0), {"a": SOURCES["a"]}
    found = train(model, one, sources, settings, seed=3, prior=PRIOR)
    anchor = torch.from_numpy(scaled_prior(sources, settings.prior_scale))
    matrix = (anchor + initial_alignment(3, N, seed=3)).requires_grad_()
    bias = torch.zeros(N, requires_grad=True)
    scores = torch.from_numpy(SOURCES["a"])
    mask = torch.sigmoid(scores @ matrix + bias - (scores @ anchor).mean())
    loss, kl = alignment_loss(under_masks(model, settings), one[0], mask, settings)
    loss = loss + 0.5 * ((matrix - anchor).square().sum() + bias.square().sum())
    gradients = torch.autograd.grad(loss, [matrix, bias])
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert found.kl.item() == pytest.approx(kl.item(), rel=1e-5)
    # The first step of Adam goes one learning rate against the gradient's sign.
    steps = (found.alignment - found.initial, found.bias)
    for step, gradient in zip(steps, gradients, strict=True):
        torch.testing.assert_close(step, -0.1 * gradient.sign(), rtol=1e-2, atol=1e-3)


def test_matrices_start_small_and_differ_by_seed():
    initial = initial_alignment(100, 200, seed=0)
    assert initial.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(initial.mean().item()) < 0.001
    assert torch.equal(initial, initial_alignment(100, 200, seed=0))
    assert not torch.equal(initial, initial_alignment(100, 200, seed=1))
