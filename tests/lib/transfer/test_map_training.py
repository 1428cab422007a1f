from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fits import AREA, PRIOR, SETTINGS, SOURCES, N, only, train, under_masks

from circuit_transfer.interventions import run_captured
from circuit_transfer.transfer import node_training
from circuit_transfer.transfer.node_training import fit
from circuit_transfer.transfer.objectives import alignment_loss
from circuit_transfer.transfer.trained_maps import Start, initial_alignment


def test_the_optimiser_is_adam_with_a_linear_decay_to_a_tenth(model, prepared):
    settings = replace(SETTINGS, epochs=4)
    (one, sources) = (only(prepared, 0), {"a": SOURCES["a"]})
    found = train(model, one, sources, settings, seed=3)
    alignment, first, second = initial_alignment(3, N, seed=3), 0.0, 0.0
    scores, losses = torch.from_numpy(SOURCES["a"]), []
    for step in range(4):
        alignment = alignment.detach().requires_grad_()
        mask = torch.sigmoid(scores @ alignment)
        loss, _ = alignment_loss(under_masks(model, settings), one[0], mask, settings)
        (gradient,) = torch.autograd.grad(loss, alignment)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean = first / (1 - 0.9 ** (step + 1))
        deviation = (second / (1 - 0.999 ** (step + 1))).sqrt()
        rate = 0.1 * (1 - 0.9 * step / 4)
        alignment = alignment - rate * mean / (deviation + 1e-8)
        losses.append(loss.item())
    torch.testing.assert_close(found.alignment, alignment, rtol=1e-4, atol=1e-5)
    assert found.loss.tolist() == pytest.approx(losses, rel=1e-5)


def test_training_is_deterministic_and_the_loss_goes_down(model, prepared):
    settings = replace(SETTINGS, epochs=10)
    fits = [train(model, prepared, SOURCES, settings, seed=seed) for seed in (0, 0, 1)]
    for name in ("alignment", "loss", "kl"):
        assert torch.equal(getattr(fits[0], name), getattr(fits[1], name))
        assert not torch.equal(getattr(fits[0], name), getattr(fits[2], name))
    loss = fits[0].loss
    assert loss.shape == fits[0].kl.shape == (10 * len(prepared),)
    assert loss[-4:].mean() < 0.8 * loss[:4].mean()
    assert (loss > fits[0].kl).all()


def test_every_epoch_takes_every_batch_once_in_the_order_of_the_seed(model, prepared):
    # Without learning the loss tells which batch a step took.
    frozen = replace(SETTINGS, learning_rate=0.0, epochs=3)
    orders = []
    for seed in (0, 1):
        found = train(model, prepared, SOURCES, frozen, seed=seed)
        epochs = found.loss.reshape(3, len(prepared))
        assert (epochs.sort().values == epochs[0].sort().values).all()
        assert len(set(epochs[0].tolist())) == len(prepared) == 4
        orders.append(epochs.argsort().tolist())
    assert orders[0] != orders[1]
    assert orders[0][0] != orders[0][1] or orders[0][1] != orders[0][2]


def test_tasks_without_scores_are_not_trained_on(model, prepared):
    sources = {"a": SOURCES["a"]}
    both = train(model, prepared, sources, SETTINGS, seed=0)
    alone = train(model, only(prepared, 0, 1), sources, SETTINGS, seed=0)
    assert torch.equal(both.alignment, alone.alignment)


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, objective="area")])
def test_maps_that_are_trained_side_by_side_are_those_trained_alone(
    model, prepared, settings, monkeypatch
):
    settings = replace(settings, proportions=(0.2, 0.5, 1.0), epochs=2)
    others = {task: -each for task, each in SOURCES.items()}
    starts = [Start(SOURCES), Start(others, PRIOR), Start(SOURCES, PRIOR)]
    alone = [
        train(model, prepared, s.sources, settings, seed=0, prior=s.prior)
        for s in starts
    ]
    for rows in (2**20, 4, 1):
        # All in one pass, two at a time, one by one.
        monkeypatch.setattr(node_training, "rows_per_pass", lambda *_, n=rows: n)
        together = fit(model, prepared, starts, settings, n_target=N, seed=0)
        for found, expected in zip(together, alone, strict=True):
            assert found.tensors().keys() == expected.tensors().keys()
            for name, tensor in expected.tensors().items():
                np.testing.assert_allclose(found.tensors()[name], tensor, atol=1e-4)
    assert not torch.allclose(together[0].alignment, together[1].alignment, atol=1e-2)


def test_prepared_runs_are_fresh_runs_also_after_training(model, prepared):
    train(model, prepared, SOURCES, SETTINGS, seed=0)
    for each in prepared:
        batch = each.batch
        full, clean = run_captured(model, batch.clean, batch.prefix)
        _, corrupted = run_captured(model, batch.corrupted, batch.prefix)
        assert torch.equal(each.full, full)
        for kept, fresh in ((each.clean, clean), (each.corrupted, corrupted)):
            assert all(map(torch.equal, kept, fresh))


def test_training_on_the_area_makes_circuits_more_faithful(model, prepared):
    sources = {"a": np.ones(1, np.float32)}
    settings = replace(AREA, epochs=40)
    found = train(model, prepared, sources, settings, seed=0)
    assert found.alignment.shape == (1, N)
    assert found.loss[-10:].mean() < 0.7 * found.loss[:10].mean()
    again = train(model, prepared, sources, settings, seed=0)
    assert torch.equal(found.alignment, again.alignment)
