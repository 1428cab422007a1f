from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import reference
import torch

from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.masks import circuit_masks, soft_circuit
from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.circuits.prepared import Preparations, prepare
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import answer_logits, run_captured
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.objectives import (
    FitSettings,
    alignment_loss,
    area_loss,
    size_weights,
)
from circuit_transfer.transfer.trained_maps import Start, initial_alignment
from circuit_transfer.transfer.training import fit

FAMILIES = ("llama", "qwen2", "gpt2")
INTERVENTIONS = ("circuit", "interpolation", "release")
NODES = node_names(2, 4)
N = len(NODES)
SETTINGS = FitSettings("circuit", epochs=3, learning_rate=0.1, sparsity=0.1)
SOURCES = {
    "a": np.array([1.0, -0.5, 0.25], np.float32),
    "b": np.array([-0.75, 1.0, 0.5], np.float32),
}
PRIOR = np.random.default_rng(3).random((3, N)).astype(np.float32)


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


@pytest.fixture
def batches(tiny_pairs):
    return {
        task: pair_batches(tiny_pairs(4, seed=seed), 2)
        for seed, task in enumerate(SOURCES)
    }


@pytest.fixture
def prepared(model, batches):
    return prepare(model, batches)


def train(model, prepared, sources, settings, *, seed, prior=None):
    """Fit one map alone."""
    start = Start(sources, prior)
    (found,) = fit(model, prepared, [start], settings, n_target=N, seed=seed)
    return found


def only(prepared, *indices):
    """Keep some batches."""
    chosen = [prepared[index] for index in indices]
    pending = [lambda e=each: e for each in chosen]
    return Preparations(pending, [e.task for e in chosen], [e.batch for e in chosen])


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


@pytest.mark.parametrize("intervention", ["circuit", "interpolation"])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_training_ablates_as_the_evaluation_does(
    tiny_model, tiny_pairs, ablation, intervention
):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    mask = torch.tensor([0.0, 0.7, 1.0, 0.2, 0.5] * 2)
    # A node's mean is over all examples and positions of all batches.
    clean = [reference.run(model, batch.clean)[1] for batch in batches]
    count = sum(batch.clean.numel() for batch in batches)
    for each, own in zip(prepare(model, {"a": batches}, ablation), clean, strict=True):
        written = {
            node: sum(run[node].sum((0, 1)) for run in clean) / count for node in NODES
        }
        if ablation == "zero":
            written = {node: torch.zeros_like(value) for node, value in written.items()}
        edit = reference.mixed(
            dict(zip(NODES, mask.double(), strict=True)),
            {node: value.expand_as(own[node]) for node, value in written.items()},
            *([own] if intervention == "interpolation" else []),
        )
        expected = reference.run(model, each.batch.clean, edit=edit)[0][:, -1]
        found = masked_logits(model, each, mask, intervention)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_an_unknown_ablation_is_named(model, tiny_pairs):
    with pytest.raises(ValueError, match="ablation 'noise' is not one of"):
        prepare(model, {"a": pair_batches(tiny_pairs(2), 2)}, "noise")


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_masked_logits_follow_the_definition(
    model, prepared, batches, intervention, value
):
    mask = torch.full((N,), value)
    mask[::3] = 1 - value
    for constant in (mask, torch.full((N,), value)):
        for each, batch in zip(prepared, sum(batches.values(), []), strict=True):
            found = masked_logits(model, each, constant, intervention)
            expected = reference_logits(model, batch, constant, intervention)
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_a_mask_of_ones_is_clean_and_of_zeros_corrupted(model, prepared, intervention):
    for each in prepared:
        ones = masked_logits(model, each, torch.ones(N), intervention)
        zeros = masked_logits(model, each, torch.zeros(N), intervention)
        batch = each.batch
        corrupted = answer_logits(model, batch.corrupted, after=batch.prefix)
        torch.testing.assert_close(ones, each.full, rtol=0, atol=1e-5)
        torch.testing.assert_close(zeros, corrupted, rtol=0, atol=1e-5)


def test_an_unknown_intervention_is_named(model, prepared):
    with pytest.raises(ValueError, match="'noise' is not one of circuit, interp"):
        masked_logits(model, prepared[0], torch.ones(N), "noise")


def test_the_optimiser_is_adam_with_a_linear_decay_to_a_tenth(model, prepared):
    settings = replace(SETTINGS, epochs=4)
    (one, sources) = (only(prepared, 0), {"a": SOURCES["a"]})
    found = train(model, one, sources, settings, seed=3)
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
        monkeypatch.setattr(
            "circuit_transfer.transfer.training.rows_per_pass", lambda *_, n=rows: n
        )
        together = fit(model, prepared, starts, settings, n_target=N, seed=0)
        for found, expected in zip(together, alone, strict=True):
            assert found.tensors().keys() == expected.tensors().keys()
            for name, tensor in expected.tensors().items():
                np.testing.assert_allclose(found.tensors()[name], tensor, atol=1e-4)
    assert not torch.allclose(together[0].alignment, together[1].alignment, atol=1e-2)


def test_what_does_not_fit_is_on_the_host_or_run_again(model, tiny_pairs, caplog):
    batches = {"a": pair_batches(tiny_pairs(8), 2)}
    whole = prepare(model, batches)
    size = max(each.bytes() for each in whole)
    caplog.set_level("INFO")
    for here, on_host in ((0, 0), (0, 10 * size), (2 * size, 0), (size, size)):
        short = prepare(model, batches, budget=0)
        short.fill_cache(here, on_host)
        kept = (len(short._on_device), len(short._on_host))
        assert kept == (here // size, min(4 - here // size, on_host // size))
        for found, expected in zip(short, whole, strict=True):
            assert torch.equal(found.full, expected.full)
            assert torch.equal(found.empty, expected.empty)
            assert all(map(torch.equal, found.clean, expected.clean))
            assert all(map(torch.equal, found.corrupted, expected.corrupted))
            mask = torch.full((N,), 0.5)
            logits = (
                masked_logits(model, e, mask, "circuit") for e in (found, expected)
            )
            assert torch.equal(*logits)
    assert "2 of 4 prepared batches fit" in caplog.text


def test_what_a_step_will_run_is_known_before_it_is_prepared(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(8), 2)
    for ablation in ("counterfactual", "zero"):
        prepared = prepare(model, {"a": batches}, ablation)
        for rest, each in zip(prepared.rests, prepared, strict=True):
            assert torch.equal(rest.clean, each.batch.clean)
            assert torch.equal(rest.corrupted, each.batch.corrupted)


def test_an_intervention_keeps_only_what_it_needs(model, tiny_pairs):
    batches = {"a": pair_batches(tiny_pairs(4), 2)}
    for each, all_of_it in zip(
        prepare(model, batches, intervention="circuit"),
        prepare(model, batches),
        strict=True,
    ):
        assert each.clean == []
        mask = torch.full((N,), 0.5)
        logits = (masked_logits(model, e, mask, "circuit") for e in (each, all_of_it))
        assert torch.equal(*logits)
    assert prepare(model, batches, intervention="release")[0].clean


def test_prepared_runs_are_fresh_runs_also_after_training(model, prepared):
    train(model, prepared, SOURCES, SETTINGS, seed=0)
    for each in prepared:
        batch = each.batch
        full, clean = run_captured(model, batch.clean, batch.prefix)
        _, corrupted = run_captured(model, batch.corrupted, batch.prefix)
        assert torch.equal(each.full, full)
        for kept, fresh in ((each.clean, clean), (each.corrupted, corrupted)):
            assert all(map(torch.equal, kept, fresh))


def fit_one(model, prepared, name="free", control="none", sources=SOURCES, prior=None):
    made = {"shape": (3, N), "seed": 5}
    made["priors"] = {} if prior is None else {name: prior}
    (tensors,) = fit_maps(model, prepared, sources, SETTINGS, [(name, control)], **made)
    return tensors


def test_a_fit_has_its_start_its_matrix_and_its_curves(model, prepared):
    tensors = fit_one(model, prepared)
    assert set(tensors) == {"alignment", "initial", "loss", "kl"}
    assert np.array_equal(tensors["initial"], initial_alignment(3, N, 5).numpy())
    plain = train(model, prepared, SOURCES, SETTINGS, seed=5)
    assert np.array_equal(tensors["alignment"], plain.alignment.numpy())


def test_trained_controls_see_other_scores(model, prepared):
    plain = fit_one(model, prepared)["alignment"]
    free = fit_one(model, prepared, control="source-free")
    # A constant source gives every row the same gradient.
    assert set(free) == {"alignment", "loss", "kl"}
    moved = free["alignment"] - initial_alignment(3, N, 5).numpy()
    np.testing.assert_allclose(moved, np.tile(moved[:1], (3, 1)), atol=1e-5)
    shuffled = fit_one(model, prepared, control="random-source")["alignment"]
    seen = control_sources("random-source", SOURCES, seed=5)
    expected = train(model, prepared, seen, SETTINGS, seed=5).alignment
    assert np.array_equal(shuffled, expected.numpy())
    assert not np.allclose(shuffled, plain)


def test_an_untrained_map_is_its_prior(model, prepared):
    tensors = fit_one(model, prepared, name="depth-prior", prior=PRIOR)
    assert set(tensors) == {"alignment"}
    assert np.array_equal(tensors["alignment"], PRIOR)


AREA = replace(
    SETTINGS, objective="area", proportions=(0.05, 0.2, 0.25, 0.5, 1.0), epochs=8
)


def test_sizes_count_as_the_trapezoid_rule_weighs_them():
    found = size_weights([0.05, 0.2, 0.25, 0.5, 1.0], N)
    # Of 10 nodes: none, 2, 2, 5 and all.
    assert list(found) == [2, 5]
    assert found[2] == pytest.approx((0.25 - 0.05) / 2 + (0.5 - 0.2) / 2)
    assert found[5] == pytest.approx((1.0 - 0.25) / 2)
    # A curve that is 1 at these sizes and 0 elsewhere has this area.
    curve = [0, 1, 1, 1, 0]
    area = np.trapezoid(curve, [0.05, 0.2, 0.25, 0.5, 1.0])
    assert sum(found.values()) == pytest.approx(area)


def test_a_hard_edge_makes_the_circuit_of_the_evaluation():
    scores = torch.tensor(np.random.default_rng(0).permutation(N), dtype=torch.float32)
    for kept, proportion in ((2, 0.2), (5, 0.5)):
        hard = circuit_masks(scores[None], [proportion])[0, 0]
        soft = soft_circuit(scores, kept, softness=1e-3)
        torch.testing.assert_close(soft, hard, atol=1e-6, rtol=0)
        softer = soft_circuit(scores, kept, softness=1.0)
        assert torch.equal(softer > 0.5, hard.bool())
        # Scale and origin of the scores do not matter.
        moved = soft_circuit(5 * scores - 3, kept, softness=1.0)
        torch.testing.assert_close(softer, moved, rtol=1e-4, atol=1e-6)


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
        loss, kl = area_loss(model, prepared, mask, AREA)
        rankings = pl.DataFrame({"scores": [scores.tolist()]})
        evaluated = evaluate_circuits(model, batches, rankings, [proportion])
        distance = abs(1 - evaluated["faithfulness"].item())
        assert loss.item() == pytest.approx(distance, rel=1e-4)
        assert kl.item() == pytest.approx(evaluated["kl"].item(), rel=1e-4)


def test_training_on_the_area_makes_circuits_more_faithful(model, prepared):
    sources = {"a": np.ones(1, np.float32)}
    settings = replace(AREA, epochs=40)
    found = train(model, prepared, sources, settings, seed=0)
    assert found.alignment.shape == (1, N)
    assert found.loss[-10:].mean() < 0.7 * found.loss[:10].mean()
    again = train(model, prepared, sources, settings, seed=0)
    assert torch.equal(found.alignment, again.alignment)


def test_without_training_tasks_every_matrix_is_unknown(model):
    for name in ("free", "depth-prior", "prior-residual"):
        tensors = fit_one(model, [], name=name, sources={})
        assert set(tensors) == {"alignment", "initial"}
        for each in tensors.values():
            assert each.shape == (3, N)
            assert np.isnan(each).all()


@pytest.mark.parametrize("name", ["cka-prior", "prior-residual"])
def test_a_map_whose_prior_is_not_known_is_unknown(model, prepared, name):
    tensors = fit_one(model, prepared, name=name, prior=None)
    assert all(np.isnan(each).all() for each in tensors.values())


def scaled_prior(sources, scale):
    spread = np.mean([(scores @ PRIOR).std() for scores in sources.values()])
    return scale * PRIOR / spread


def test_a_prior_is_where_training_starts_spread_as_asked(model, prepared):
    found = fit_one(model, prepared, name="prior-residual", prior=PRIOR)
    anchor = scaled_prior(SOURCES, SETTINGS.prior_scale)
    expected = anchor + initial_alignment(3, N, 5).numpy()
    np.testing.assert_allclose(found["initial"], expected, rtol=1e-5, atol=1e-6)
    assert found["bias"].shape == (N,)
    assert (found["bias"] != 0).any()


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
    loss, kl = alignment_loss(model, one[0], mask, settings)
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
