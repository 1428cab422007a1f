from dataclasses import replace

import numpy as np
import pytest
import reference
import torch

from circuit_transfer.alignment import (
    FitSettings,
    alignment_loss,
    fit,
    fit_with_controls,
    initial_alignment,
    masked_logits,
    prepare,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.faithfulness import answer_divergence, run_circuits
from circuit_transfer.interventions import answer_logits, run_captured
from circuit_transfer.nodes import node_names

FAMILIES = ("llama", "qwen2", "gpt2")
INTERVENTIONS = ("circuit", "interpolation", "release")
NODES = node_names(2, 4)
N = len(NODES)
SETTINGS = FitSettings("circuit", epochs=3, learning_rate=0.1, sparsity=0.1)
SOURCES = {
    "a": np.array([1.0, -0.5, 0.25], np.float32),
    "b": np.array([-0.75, 1.0, 0.5], np.float32),
}


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


@pytest.fixture
def prepared(model, tiny_pairs):
    tasks = {
        task: pair_batches(tiny_pairs(4, seed=seed), 2)
        for seed, task in enumerate(SOURCES)
    }
    return prepare(model, tasks)


def reference_logits(model, batch, mask, intervention):
    """Return the answer logits by the definition, in plain float64."""
    shares = dict(zip(NODES, mask.double(), strict=True))
    _, clean = reference.run(model, batch.clean)
    _, corrupted = reference.run(model, batch.corrupted)
    ids, edit = {
        "circuit": (batch.clean, reference.mixed(shares, corrupted)),
        "interpolation": (batch.clean, reference.mixed(shares, corrupted, clean)),
        "release": (batch.corrupted, reference.pushed(shares, clean)),
    }[intervention]
    return reference.run(model, ids, edit=edit)[0][:, -1]


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
    loss, _ = alignment_loss(model, prepared, mask, settings)
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


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_divergence_reaches_every_head_and_mlp(
    tiny_model, tiny_pairs, family, intervention
):
    model = tiny_model(family).requires_grad_(False)
    (prepared,) = prepare(model, {"a": pair_batches(tiny_pairs(1), 1)})
    settings = replace(SETTINGS, intervention=intervention, sparsity=0.0)
    mask = torch.full((N,), 0.5, requires_grad=True)
    loss, divergence = alignment_loss(model, prepared, mask, settings)
    assert torch.equal(loss, divergence)
    (gradient,) = torch.autograd.grad(loss, mask)
    assert (gradient.abs() > 1e-4 * gradient.abs().max()).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_binary_mask_in_training_is_the_circuit_of_the_evaluation(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (3, N), generator=generator).float()
    masks = torch.cat([masks, torch.zeros(1, N), torch.ones(1, N)])
    evaluated = run_circuits(model, batches, masks)
    for circuit, mask in enumerate(masks):
        diffs, divergences = [], []
        for each in prepare(model, {"a": batches}):
            logits = masked_logits(model, each, mask, "circuit")
            diffs.append(each.batch.logit_diff(logits))
            divergences.append(answer_divergence(each.full, logits))
        assert torch.equal(torch.cat(diffs), evaluated.logit_diff[circuit])
        assert torch.equal(torch.cat(divergences), evaluated.kl[circuit])


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_masked_logits_follow_the_definition(model, prepared, intervention, value):
    mask = torch.full((N,), value)
    mask[::3] = 1 - value
    for constant in (mask, torch.full((N,), value)):
        for each in prepared:
            found = masked_logits(model, each, constant, intervention)
            expected = reference_logits(model, each.batch, constant, intervention)
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_a_mask_of_ones_is_clean_and_of_zeros_corrupted(model, prepared, intervention):
    for each in prepared:
        ones = masked_logits(model, each, torch.ones(N), intervention)
        zeros = masked_logits(model, each, torch.zeros(N), intervention)
        corrupted = answer_logits(model, each.batch.corrupted)
        torch.testing.assert_close(ones, each.full, rtol=0, atol=1e-5)
        torch.testing.assert_close(zeros, corrupted, rtol=0, atol=1e-5)


def test_an_unknown_intervention_is_named(model, prepared):
    with pytest.raises(ValueError, match="'noise' is not one of circuit, interp"):
        masked_logits(model, prepared[0], torch.ones(N), "noise")


def test_the_optimiser_is_adam_with_a_linear_decay_to_a_tenth(model, prepared):
    settings = replace(SETTINGS, epochs=4)
    (one, sources) = (prepared[:1], {"a": SOURCES["a"]})
    found = fit(model, one, sources, settings, n_target=N, seed=3)
    alignment, first, second = initial_alignment(3, N, seed=3), 0.0, 0.0
    scores, losses = torch.from_numpy(SOURCES["a"]), []
    for step in range(4):
        alignment = alignment.detach().requires_grad_()
        mask = torch.sigmoid(scores @ alignment)
        loss, _ = alignment_loss(model, one[0], mask, settings)
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
    fits = [
        fit(model, prepared, SOURCES, settings, n_target=N, seed=seed)
        for seed in (0, 0, 1)
    ]
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
        found = fit(model, prepared, SOURCES, frozen, n_target=N, seed=seed)
        epochs = found.loss.reshape(3, len(prepared))
        assert (epochs.sort().values == epochs[0].sort().values).all()
        assert len(set(epochs[0].tolist())) == len(prepared) == 4
        orders.append(epochs.argsort().tolist())
    assert orders[0] != orders[1]
    assert orders[0][0] != orders[0][1] or orders[0][1] != orders[0][2]


def test_tasks_without_scores_are_not_trained_on(model, prepared):
    only = {"a": SOURCES["a"]}
    of_a = [each for each in prepared if each.task == "a"]
    both = fit(model, prepared, only, SETTINGS, n_target=N, seed=0)
    alone = fit(model, of_a, only, SETTINGS, n_target=N, seed=0)
    assert torch.equal(both.alignment, alone.alignment)


def test_prepared_runs_are_fresh_runs_also_after_training(model, prepared):
    fit(model, prepared, SOURCES, SETTINGS, n_target=N, seed=0)
    for each in prepared:
        full, clean = run_captured(model, each.batch.clean)
        _, corrupted = run_captured(model, each.batch.corrupted)
        assert torch.equal(each.full, full)
        for kept, fresh in ((each.clean, clean), (each.corrupted, corrupted)):
            assert all(map(torch.equal, kept, fresh))


def test_a_fit_holds_the_matrix_and_its_trained_controls(model, prepared):
    tensors = fit_with_controls(
        model,
        prepared,
        SOURCES,
        SETTINGS,
        controls=["source-free", "random-source"],
        shape=(3, N),
        seed=5,
    )
    suffixes = ("", "/source-free", "/random-source")
    names = {f"{key}{end}" for key in ("alignment", "loss", "kl") for end in suffixes}
    assert set(tensors) == names | {"initial"}
    assert np.array_equal(tensors["initial"], initial_alignment(3, N, 5).numpy())
    plain = fit(model, prepared, SOURCES, SETTINGS, n_target=N, seed=5)
    assert np.array_equal(tensors["alignment"], plain.alignment.numpy())
    free = tensors["alignment/source-free"] - tensors["initial"]
    # A constant source gives every row the same gradient.
    np.testing.assert_allclose(free, np.tile(free[:1], (3, 1)), atol=1e-5)
    assert not np.allclose(tensors["alignment/random-source"], tensors["alignment"])


def test_without_training_tasks_every_matrix_is_unknown(model):
    tensors = fit_with_controls(
        model, [], {}, SETTINGS, controls=["source-free"], shape=(3, N), seed=0
    )
    assert set(tensors) == {"alignment", "initial", "alignment/source-free"}
    for each in tensors.values():
        assert each.shape == (3, N)
        assert np.isnan(each).all()


def test_matrices_start_small_and_differ_by_seed():
    initial = initial_alignment(100, 200, seed=0)
    assert initial.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(initial.mean().item()) < 0.001
    assert torch.equal(initial, initial_alignment(100, 200, seed=0))
    assert not torch.equal(initial, initial_alignment(100, 200, seed=1))
