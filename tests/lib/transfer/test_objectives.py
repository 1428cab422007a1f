from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import reference
import torch
from reference_masks import reference_logits
from small_fits import SETTINGS, N, under_masks

from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.objectives import (
    alignment_loss,
    area_loss,
)
from circuit_transfer.transfer.trained_maps import initial_alignment

FAMILIES = ("llama", "qwen2", "gpt2")
INTERVENTIONS = ("circuit", "interpolation", "release")


def reference_loss(model, batch, scores, alignment, settings):
    mask = 1 / (1 + torch.exp(-(scores @ alignment)))
    logits = reference_logits(model, batch, mask, settings.intervention)
    full, _ = reference.run(model, batch.clean)
    target = full[:, -1].softmax(-1)
    divergence = (target * (target.log() - logits.softmax(-1).log())).sum(1)
    return divergence.mean() + settings.sparsity * mask.mean()


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_every_entry_equals_finite_differences(
    tiny_model, tiny_pairs, family, intervention
):
    model = tiny_model(family).requires_grad_(False)
    settings = replace(SETTINGS, intervention=intervention)
    (prepared,) = prepare(model, {"a": pair_batches(tiny_pairs(4)[::2], 2)})
    scores = torch.tensor([1.0, -0.6])
    alignment = (20 * initial_alignment(2, N, seed=0)).requires_grad_()
    mask = torch.sigmoid(scores @ alignment)
    loss, _ = alignment_loss(under_masks(model, settings), prepared, mask, settings)
    loss.backward()

    plain = (prepared.batch, scores.double())
    start = alignment.detach().double()
    expected = torch.empty(2, N, dtype=torch.float64)
    for entry in np.ndindex(2, N):
        step = torch.zeros(2, N, dtype=torch.float64)
        step[entry] = 1e-4
        up = reference_loss(model, *plain, start + step, settings)
        down = reference_loss(model, *plain, start - step, settings)
        expected[entry] = (up - down) / 2e-4
    value = reference_loss(model, *plain, start, settings)
    assert loss.item() == pytest.approx(value.item(), rel=1e-5)
    torch.testing.assert_close(
        alignment.grad.double(), expected, rtol=0, atol=2e-5 * expected.abs().max()
    )


def test_the_relative_weight_is_in_units_of_the_empty_circuit_s_divergence(
    tiny_model, tiny_pairs
):
    model = tiny_model("llama").requires_grad_(False)
    (prepared,) = prepare(model, {"a": pair_batches(tiny_pairs(3)[::2], 3)})
    mask = torch.rand(2, N, generator=torch.Generator().manual_seed(0))
    relative = replace(SETTINGS, objective="relative-divergence", sparsity=0.5)
    run = under_masks(model)
    loss, divergence = alignment_loss(run, prepared, mask, relative)
    full, empty = (
        reference.run(model, ids)[0][:, -1].log_softmax(-1)
        for ids in (prepared.batch.clean, prepared.batch.corrupted)
    )
    unit = (full.exp() * (full - empty)).sum(1).mean()
    assert unit > 1e-3
    torch.testing.assert_close(loss - divergence, 0.5 * unit * mask.mean(1))
    _, plain = alignment_loss(run, prepared, mask, SETTINGS)
    assert torch.equal(divergence, plain)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_divergence_reaches_every_head_and_mlp(
    tiny_model, tiny_pairs, family, intervention
):
    model = tiny_model(family).requires_grad_(False)
    (prepared,) = prepare(model, {"a": pair_batches(tiny_pairs(1), 1)})
    settings = replace(SETTINGS, intervention=intervention, sparsity=0.0)
    mask = torch.full((N,), 0.5, requires_grad=True)
    run = under_masks(model, settings)
    loss, divergence = alignment_loss(run, prepared, mask, settings)
    assert torch.equal(loss, divergence)
    (gradient,) = torch.autograd.grad(loss, mask)
    assert (gradient.abs() > 1e-4 * gradient.abs().max()).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_area_s_loss_is_the_distance_of_faithfulness_from_one(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4)[::2], 4)
    (prepared,) = prepare(model, {"a": batches})
    scores = torch.randn(N, generator=torch.Generator().manual_seed(1))
    for proportion in (0.2, 0.5):
        mask = circuit_masks(scores[None], [proportion])[0, 0]
        loss, kl = area_loss(under_masks(model), prepared, mask)
        rankings = pl.DataFrame({"scores": [scores.tolist()]})
        evaluated = evaluate_circuits(model, batches, rankings, [proportion])
        distance = abs(1 - evaluated["faithfulness"].item())
        assert loss.item() == pytest.approx(distance, rel=1e-4)
        assert kl.item() == pytest.approx(evaluated["kl"].item(), rel=1e-4)
