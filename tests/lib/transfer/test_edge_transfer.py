"""Edge scores that are transferred to models whose circuit is known."""

import numpy as np
import pytest
import torch
from permuted import permuted_copy
from planted_chains import TASKS, TRAINED, UNSEEN, chain_batch, plant_chains
from reference_planted import Case

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.edge_runs import run_edge_circuits
from circuit_transfer.circuits.prepared_edges import prepare_tasks
from circuit_transfer.embedded.planted.backup import draw_places
from circuit_transfer.embedded.planted.settings import Backup
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.correspondences import node_prior
from circuit_transfer.transfer.edge_alignment import fit_edge_maps
from circuit_transfer.transfer.edge_maps import EdgeMap, lifted_map
from circuit_transfer.transfer.edge_sources import edge_control_sources
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.objectives import FitSettings


def scored(model, batches, graph, method="eap", **how):
    """Return how much every edge matters, float32 `(n_edges,)`."""
    found = attribute_edges(model, batches, graph, method=method, **how)
    return np.abs(graph.flat(found.scores.numpy()))


def role_map(pairs, source, target):
    """Return a map of nodes by the pairs of names that have the same role."""
    matrix = np.zeros((len(source.writers) - 1, len(target.writers) - 1), np.float32)
    for one, other in pairs:
        matrix[source.writers.index(one) - 1, target.writers.index(other) - 1] = 1
    return matrix


@pytest.mark.parametrize("kv", KV)
def test_scores_of_a_permuted_copy_are_the_model_s_own(tiny_model, tiny_pairs, kv):
    model = tiny_model("llama", layers=3).requires_grad_(False)
    copy, names = permuted_copy(model, seed=4)
    graph, nodes = config_graph(model.config, kv), node_names(3, 4)
    pairs = [(name, names.get(name, name)) for name in nodes]
    assert any(one != other for one, other in pairs)
    batches = pair_batches(tiny_pairs(6), 3)
    of_model, of_copy = (scored(m, batches, graph) for m in (model, copy))
    moved = of_model @ lifted_map(role_map(pairs, graph, graph), graph, graph)
    assert not np.allclose(of_copy, of_model, rtol=1e-2)
    np.testing.assert_allclose(moved, of_copy, rtol=1e-3, atol=1e-5)
    # They have other places, and are the same numbers.
    assert sorted(moved.tolist()) == sorted(of_model.tolist())

    sizes = [0.1, 0.3, 0.6]
    masks = [edge_circuits(s[None], sizes)[0] for s in (moved, of_model)]
    found, expected = (
        run_edge_circuits(each, batches, graph, own)
        for each, own in zip((copy, model), masks, strict=True)
    )
    for name, metric in vars(expected).items():
        torch.testing.assert_close(vars(found)[name], metric, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kv", KV)
def test_by_the_roles_of_its_nodes_a_planted_circuit_is_transferred_exactly(kv):
    sizes = {"layers": 3, "heads": 4, "seed": 0}, {"layers": 5, "heads": 3, "seed": 1}
    source, target = (Case({"construction": "backup"} | e, 8, kv) for e in sizes)
    places = [
        draw_places(Backup(**each), torch.Generator().manual_seed(each["seed"]))
        for each in sizes
    ]
    roles = [(*p.either, *p.repair, *p.limits, *p.chain) for p in places]
    matrix = role_map(zip(*roles, strict=True), source.graph, target.graph)
    how = {"method": "eap-ig-inputs", "ig_steps": 5}
    scores, gold = (
        scored(case.model.float(), [case.batch], case.graph, **how)
        for case in (source, target)
    )
    edges = lifted_map(matrix, source.graph, target.graph)
    circuit, truth = (case.truth("late") for case in (source, target))
    moved = circuit.astype(np.float32) @ edges
    assert np.array_equal(moved, truth) and truth.sum() > 10
    np.testing.assert_allclose(scores @ edges, gold, rtol=1e-2, atol=1e-2)
    wrong = circuit.astype(np.float32) @ edges.permuted(np.random.default_rng(0))
    assert wrong[truth].sum() < 0.5 * truth.sum()


@pytest.fixture(scope="module")
def chains():
    """Two planted models of other sizes, and the source's scores by task."""
    source = plant_chains(layers=3, heads=4, places=(0, 1), seed=0)
    target = plant_chains(layers=4, heads=5, places=(1, 2), seed=1)
    scores = {
        task: scored(source.model, [chain_batch(task)], source.graph) for task in TASKS
    }
    return source, target, {t: transformed(each, "sum") for t, each in scores.items()}


def recall(projected, target, task):
    """Return the share of a task's circuit among as many of the highest scores."""
    truth = target.edges(task)
    top = np.argsort(-projected, kind="stable")[: truth.sum()]
    return truth[top].mean()


def test_by_the_true_map_every_task_s_chains_are_found(chains):
    source, target, scores = chains
    pairs = [
        pair
        for both in zip(source.heads, target.heads, strict=True)
        for pair in zip(*both, strict=True)
    ]
    graphs = source.graph, target.graph
    true = lifted_map(role_map(pairs, *graphs), *graphs)
    for task, each in scores.items():
        assert recall(each, source, task) == recall(each @ true, target, task) == 1
    # Who reads whom is not in how much nodes matter.
    for task, each in edge_control_sources(
        "degree-source", scores, source.graph, seed=0
    ).items():
        np.testing.assert_allclose(np.sort(each @ true)[-8:-4], 1 / 12, rtol=1e-3)
        assert recall(each @ true, target, task) < 1


def test_a_trained_map_finds_the_chains_of_tasks_that_it_has_not_seen(chains):
    source, target, scores = chains
    graphs = source.graph, target.graph
    nodes = [graph.writers[1:] for graph in graphs]
    priors = {"prior-residual": node_prior(*nodes, depth_width=0.25)}
    settings = FitSettings(
        objective="relative-divergence",
        epochs=45,
        learning_rate=0.15,
        sparsity=30,
        prior_penalty=0.0,
    )
    trained = {task: scores[task] for task in TRAINED}
    batches = {task: [chain_batch(task)] for task in TRAINED}
    prepared = prepare_tasks(target.model, batches, target.graph)
    controls = ("none", "degree-source", "source-free")
    requested = [("prior-residual", control) for control in controls]
    how = {"graphs": graphs, "seeds": (0,), "priors": priors}
    (fitted,) = fit_edge_maps(
        target.model, prepared, trained, settings, requested, **how
    ).values()
    found, losses = {}, {}
    for control, made in zip(controls, fitted, strict=True):
        seen = edge_control_sources(control, scores, source.graph, seed=0)
        edges = EdgeMap(made["writers"], made["readers"], *graphs)
        writers, readers = target.graph.ends
        biases = made["writer_bias"][writers] + made["reader_bias"][readers]
        found[control] = np.mean(
            [recall(seen[task] @ edges + biases, target, task) for task in UNSEEN]
        )
        losses[control] = made["loss"][-8:].mean()
    untrained = lifted_map(priors["prior-residual"], *graphs)
    before = [recall(scores[task] @ untrained, target, task) for task in UNSEEN]
    assert np.mean(before) < 0.4
    assert found["none"] == 1
    assert max(found["degree-source"], found["source-free"]) <= 0.7
    assert losses["none"] < 0.9 * min(losses["degree-source"], losses["source-free"])
