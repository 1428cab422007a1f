"""Training maps of edges: its gradients, and that maps do not influence each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference_edges import ablated_outputs, run_edges
from small_edge_fits import (
    GRAPHS,
    LIFTED,
    SETTINGS,
    SOURCE,
    SOURCES,
    TARGET,
    train,
)

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.circuits.prepared_edges import prepare_tasks
from circuit_transfer.models.edges import KV_HEAD
from circuit_transfer.models.nodes import node_names
from circuit_transfer.transfer import edge_training
from circuit_transfer.transfer.edge_maps import EdgeMap
from circuit_transfer.transfer.edge_training import edge_target, fit_edges
from circuit_transfer.transfer.objectives import alignment_loss
from circuit_transfer.transfer.trained_edge_maps import EdgeStart, TrainedEdgeMap
from circuit_transfer.transfer.training import Training

AREA = {"objective": "area", "proportions": (0.05, 0.2, 0.5, 1.0)}


@pytest.fixture
def prepared(model, batches):
    return prepare_tasks(model, batches, TARGET)


def plain_loss(model, batch, trained, parameters, settings):
    """Return the loss of a map by a forward pass in plain float64."""
    writers, readers, of_writers, of_readers = parameters
    scores = torch.from_numpy(SOURCE.matrix(SOURCES["a"], outside=0)).double()
    mapped = writers.T @ scores @ readers + of_writers[:, None] + of_readers
    legal = torch.from_numpy(TARGET.legal)
    mask = torch.sigmoid(mapped - trained.offsets["a"].double()) * legal
    ablated = ablated_outputs(model, batch.corrupted)
    logits, _ = run_edges(model, batch.clean, ablated, mask, KV_HEAD)
    full = run_edges(model, batch.clean, ablated, legal.double(), KV_HEAD)[0]
    target = full.softmax(-1)
    divergence = (target * (target.log() - logits.softmax(-1).log())).sum(1).mean()
    anchors = [each.double() for each in trained.anchors]
    far = [(p - a).square().sum() for p, a in zip(parameters, anchors, strict=False)]
    far += [of_writers.square().sum(), of_readers.square().sum()]
    sparse = settings.sparsity * mask.sum() / TARGET.n_edges
    return divergence + sparse + settings.prior_penalty * sum(far)


@torch.no_grad()
def test_the_gradient_of_every_parameter_equals_finite_differences(model, batches):
    prepared = prepare_tasks(model, {"a": batches["a"][:1]}, TARGET)
    settings = replace(SETTINGS, sparsity=0.7, prior_penalty=0.2, initial_scale=0.1)
    start = EdgeStart({"a": SOURCES["a"]}, 0, LIFTED)
    trained = TrainedEdgeMap(start, settings, GRAPHS, model.device)
    generator = torch.Generator().manual_seed(1)
    for bias in trained.biases:
        bias += 0.3 * torch.randn(bias.shape, generator=generator)
    parameters = [each.detach().clone().double() for each in trained.parameters()]
    training = Training([trained], settings, 1, "test")
    with torch.enable_grad():
        training.step(edge_target(model, prepared, TARGET, 2**30), 0)
    batch = batches["a"][0]

    def loss():
        return plain_loss(model, batch, trained, parameters, settings).item()

    assert training.curve[0][0].item() == pytest.approx(loss(), rel=1e-5)
    for parameter, learned in zip(parameters, trained.parameters(), strict=True):
        found = learned.grad.flatten()
        # The largest ones, and every fifth: among them entries that are held at zero.
        chosen = {*found.abs().argsort()[-8:].tolist(), *range(0, len(found), 5)}
        flat, scale = parameter.view(-1), found.abs().max().item()
        for place in chosen:
            value = flat[place].item()
            ends = []
            for step in (1e-4, -1e-4):
                flat[place] = value + step
                ends.append(loss())
            flat[place] = value
            expected = (ends[0] - ends[1]) / 2e-4
            if learned.shape in (LIFTED.writers.shape, LIFTED.readers.shape):
                expected *= bool(learned.view(-1)[place] != 0)
            assert found[place].item() == pytest.approx(expected, abs=3e-4 * scale)


def node_masks(summed, writers):
    """Return masks of nodes by a node map of summed scores."""
    return torch.sigmoid(torch.from_numpy(summed @ writers)[1:])


def test_of_nodes_is_the_case_in_which_all_readers_are_alike(model, batches):
    """`S` times ones are scores of writers, and `A' S B` maps them by `A` alone."""
    generator = np.random.default_rng(0)
    sizes = len(SOURCE.writers), len(TARGET.writers)
    writers = generator.normal(size=sizes).astype(np.float32)
    ones = np.ones((len(SOURCE.readers), len(TARGET.readers)), np.float32)
    scores = 9 * SOURCES["a"]
    mapped = scores @ EdgeMap(writers, ones, *GRAPHS)
    by_edge = torch.sigmoid(torch.from_numpy(mapped))
    by_edge = torch.where(torch.from_numpy(TARGET.ends[0] == 0), 1.0, by_edge)
    by_node = node_masks(SOURCE.matrix(scores, outside=0).sum(1), writers)
    assert by_node.std() > 0.1 and len(by_node) == len(node_names(2, 4))

    prepared = prepare_tasks(model, batches, TARGET)
    target = edge_target(model, prepared, TARGET, 2**30)
    settings = replace(SETTINGS, sparsity=0.0)
    for each, of_nodes in zip(prepared, prepare(model, batches), strict=True):
        found = alignment_loss(target.run, each, by_edge[None], settings)[0]
        expected = alignment_loss(
            lambda batch, mask: masked_logits(model, batch, mask, "circuit"),
            of_nodes,
            by_node[None],
            settings,
        )[0]
        assert expected.item() > 0.01
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, AREA])
def test_maps_that_are_trained_side_by_side_are_those_trained_alone(
    model, prepared, changes, monkeypatch
):
    settings = replace(SETTINGS, epochs=2, **changes)
    others = {task: -each for task, each in SOURCES.items()}
    starts = [EdgeStart(SOURCES, 0), EdgeStart(SOURCES, 1, LIFTED)]
    starts += [EdgeStart(others, 1, LIFTED), EdgeStart(SOURCES, 1)]
    alone = [
        fit_edges(model, prepared, [each], settings, graphs=GRAPHS)[0]
        for each in starts
    ]
    for at_once in (4, 3, 1):
        monkeypatch.setattr(edge_training, "circuits_at_once", lambda *_, n=at_once: n)
        together = fit_edges(model, prepared, starts, settings, graphs=GRAPHS)
        for found, expected in zip(together, alone, strict=True):
            assert found.tensors().keys() == expected.tensors().keys()
            for name, tensor in expected.tensors().items():
                np.testing.assert_allclose(found.tensors()[name], tensor, atol=1e-3)
    assert not torch.allclose(alone[1].writers, alone[2].writers, atol=1e-2)


def test_the_order_of_batches_is_the_same_for_all_seeds(model, prepared):
    # Without learning, and with the same start, the loss tells the batch of a step.
    frozen = replace(SETTINGS, learning_rate=0.0, initial_scale=0.0)
    curves = [
        train(model, prepared, frozen, seed=seed, prior=LIFTED).kl for seed in (0, 1)
    ]
    assert torch.equal(*curves)
    epochs = curves[0].reshape(3, len(prepared))
    assert (epochs.sort().values == epochs[0].sort().values).all()
    assert not torch.equal(epochs[0], epochs[1])


def test_sizes_are_drawn_by_the_seed_of_a_map(model, prepared):
    frozen = replace(SETTINGS, learning_rate=0.0, initial_scale=0.0, **AREA)
    zero, again, one = (
        train(model, prepared, frozen, seed=seed, prior=LIFTED).loss
        for seed in (0, 0, 1)
    )
    assert torch.equal(zero, again) and not torch.equal(zero, one)


@pytest.mark.parametrize("prior", [None, LIFTED])
def test_training_is_deterministic_and_the_loss_goes_down(model, prepared, prior):
    settings = replace(SETTINGS, epochs=10, sparsity=0.3, learning_rate=0.4)
    found, again = (train(model, prepared, settings, prior=prior) for _ in range(2))
    assert torch.equal(found.writers, again.writers)
    assert torch.equal(found.loss, again.loss)
    assert found.loss.shape == found.kl.shape == (10 * len(prepared),)
    assert found.loss[-4:].mean() < 0.8 * found.loss[:4].mean()


def test_training_on_the_area_makes_circuits_more_faithful(model, prepared):
    settings = replace(SETTINGS, epochs=25, **AREA)
    found = train(model, prepared, settings, prior=LIFTED)
    assert found.loss[-20:].mean() < 0.8 * found.loss[:20].mean()
    assert found.open_share is None


def test_tasks_without_scores_are_not_trained_on(model, prepared, batches):
    sources = {"a": SOURCES["a"]}
    both = train(model, prepared, sources=sources)
    only = prepare_tasks(model, {"a": batches["a"]}, TARGET)
    assert torch.equal(both.writers, train(model, only, sources=sources).writers)
