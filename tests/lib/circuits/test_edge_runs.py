"""Circuits of edges, against a forward pass with a stream for every reader."""

import numpy as np
import pytest
import reference
import torch
from accelerate import cpu_offload
from reference_edges import oracle_outputs, run_edges
from test_reference_edges import CASES

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.edge_masks import effective_edges, node_circuit
from circuit_transfer.circuits.edge_runs import run_edge_circuits
from circuit_transfer.circuits.metrics import Metrics
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import counting, edge_buffers
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches

DENSITIES = (0.03, 0.1, 0.3, 0.6, 0.95)


def random_masks(graph, densities=DENSITIES, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(graph.n_edges) < each for each in densities])


def oracle(model, batches, graph, masks, kind):
    """Return the logit differences of circuits on every example, float64."""
    rows = []
    for batch, ablated in zip(
        batches, oracle_outputs(model, batches, kind), strict=True
    ):
        diffs = []
        for mask in masks:
            matrix = torch.from_numpy(graph.matrix(mask.astype(float), 0.0))
            logits, _ = run_edges(model, batch.clean, ablated, matrix, graph.kv)
            diffs.append(batch.logit_diff(logits))
        rows.append(torch.stack(diffs))
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_circuits_equal_a_stream_for_every_reader(
    tiny_model, tiny_pairs, family, settings, kv, ablation
):
    model, batches = tiny_model(family, **settings), pair_batches(tiny_pairs(4), 2)
    graph = config_graph(model.config, kv)
    ends = np.stack([np.zeros(graph.n_edges, bool), np.ones(graph.n_edges, bool)])
    masks = np.concatenate([random_masks(graph), ends])
    expected = oracle(model, batches, graph, masks, ablation)
    found = run_edge_circuits(model, batches, graph, masks, ablation=ablation)
    effect = (expected[-1] - expected[-2]).abs().max()
    error = (found.logit_diff - expected).abs().max()
    assert error <= 1e-5 * effect


def batches_and_graph(tiny_model, tiny_pairs, family="llama", kv="query-head"):
    model = tiny_model(family)
    return model, pair_batches(tiny_pairs(5), 2), config_graph(model.config, kv)


def assert_equal(found, expected, tolerance=1e-5):
    for name, values in vars(found).items():
        torch.testing.assert_close(
            values, getattr(expected, name), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_a_circuit_of_nodes_as_edges_does_what_the_nodes_do(
    tiny_model, tiny_pairs, family, settings, ablation
):
    model, batches = tiny_model(family, **settings), pair_batches(tiny_pairs(4), 2)
    graph = config_graph(model.config)
    nodes = np.random.default_rng(0).random((3, 10)) < 0.5
    expected = run_circuits(
        model, batches, torch.from_numpy(nodes).float(), ablation=ablation
    )
    masks = node_circuit(graph, nodes)
    found = run_edge_circuits(model, batches, graph, masks, ablation=ablation)
    assert_equal(found, expected)


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_circuits_side_by_side_do_what_they_do_alone(
    tiny_model, tiny_pairs, family, kv
):
    case = batches_and_graph(tiny_model, tiny_pairs, family, kv)
    masks = random_masks(case[2])
    alone = [run_edge_circuits(*case, mask[None], rows=1) for mask in masks]
    alone = Metrics(
        *(torch.cat([getattr(each, n) for each in alone]) for n in vars(alone[0]))
    )
    for rows in (None, 4, 7, 1000):
        assert_equal(
            run_edge_circuits(*case, masks[::-1], rows=rows),
            Metrics(*(each.flip(0) for each in vars(alone).values())),
        )


def test_few_and_many_edges_are_added_up_as_by_a_product(
    tiny_model, tiny_pairs, monkeypatch
):
    case = batches_and_graph(tiny_model, tiny_pairs)
    masks = random_masks(case[2])
    found = []
    # Always by a product, and always one by one, from none or from all.
    for addition in (1e9, 0):
        monkeypatch.setattr(edge_buffers, "ADDITION", addition)
        found.append(run_edge_circuits(*case, masks))
    assert_equal(*found)


def test_the_ends_are_the_plain_runs_and_nothing_else_is_run(tiny_model, tiny_pairs):
    model, batches, graph = batches_and_graph(tiny_model, tiny_pairs)
    ends = np.stack([np.zeros(graph.n_edges, bool), np.ones(graph.n_edges, bool)])
    # Edges from no input are none.
    idle = ends[:1].copy()
    idle[0, [name.startswith("a0.h1->") for name in graph.edge_names()]] = True
    masks = np.concatenate([idle, ends])
    with counting(model) as passes:
        metrics = run_edge_circuits(model, batches, graph, masks)
    assert passes.forwards == 2 * 5
    for row, side in ((0, "corrupted"), (1, "corrupted"), (2, "clean")):
        logits = [reference.run(model, getattr(b, side))[0] for b in batches]
        diffs = [
            reference.logit_diff(each, b.answers, b.wrong_answers)
            for each, b in zip(logits, batches, strict=True)
        ]
        torch.testing.assert_close(
            metrics.logit_diff[row].double(), torch.cat(diffs), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "olmo2"])
def test_only_the_edges_on_a_path_change_anything(tiny_model, tiny_pairs, family):
    model, batches, graph = batches_and_graph(tiny_model, tiny_pairs, family)
    masks = random_masks(graph, (0.05, 0.2, 0.5))
    effective = effective_edges(graph, masks)
    assert (effective.sum(1) < masks.sum(1)).any()
    # Against the oracle, since the library runs only these.
    expected, found = (
        oracle(model, batches, graph, each, "counterfactual")
        for each in (masks, effective)
    )
    torch.testing.assert_close(found, expected)


def test_other_batches_and_another_order_give_the_same_examples(tiny_model, tiny_pairs):
    model, pairs = tiny_model("qwen2"), tiny_pairs(6, shared=3)
    graph = config_graph(model.config)
    masks = random_masks(graph)
    together = run_edge_circuits(model, pair_batches(pairs, 3), graph, masks)
    singly = run_edge_circuits(model, pair_batches(pairs, 1), graph, masks)
    backwards = run_edge_circuits(model, pair_batches(pairs, 3)[::-1], graph, masks)
    assert_equal(singly, together)
    swapped = [each.roll(3, dims=1) for each in vars(backwards).values()]
    assert_equal(Metrics(*swapped), together)


def test_half_precision_is_near_single(tiny_model, tiny_pairs):
    half, batches, graph = (
        tiny_model("llama", dtype=torch.bfloat16),
        pair_batches(tiny_pairs(5), 2),
        config_graph(tiny_model("llama").config),
    )
    single = tiny_model("llama", dtype=torch.bfloat16).float()
    masks = random_masks(graph)
    for ablation in ABLATIONS:
        found, expected = (
            run_edge_circuits(model, batches, graph, masks, ablation=ablation)
            for model in (half, single)
        )
        assert found.logit_diff.dtype == torch.float32
        error = (found.logit_diff - expected.logit_diff).abs().max()
        assert error < 0.03 * expected.logit_diff.abs().max()


def test_a_pass_counts_the_weights_that_it_applies(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=3)
    (batch,) = pair_batches(tiny_pairs(3, shared=0), 3)[1:]
    graph = config_graph(model.config, "kv-head")
    kept = {
        *("input->m0", "m0->a1.h1<q>", "m0->a1.h0<k>", "a1.h1->m1"),
        *("m1->a2.h3<v>", "m1->a2.h1<v>", "a2.h3->logits"),
    }
    mask = np.array([[name in kept for name in graph.edge_names()]])
    with counting(model) as passes:
        run_edge_circuits(model, [batch], graph, mask)
    with counting(model) as bare:
        run_edge_circuits(model, [batch], graph, np.ones_like(mask))
    d, head, mlp, positions = 32, 8, 3 * 32 * 48, 7
    # Two MLPs, a query, a key, a head and a value everywhere; a head at the answer.
    everywhere = 2 * mlp + 4 * head * d
    expected = len(batch) * (positions * everywhere + head * d)
    assert passes.products - bare.products == expected


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "olmo2"])
def test_weights_may_be_offloaded(tiny_model, tiny_pairs, family):
    case = batches_and_graph(tiny_model, tiny_pairs, family)
    masks = random_masks(case[2], (0.1, 0.6))
    expected = run_edge_circuits(*case, masks)
    offloaded = cpu_offload(tiny_model(family), execution_device=torch.device("cpu"))
    assert next(offloaded.parameters()).is_meta
    found = run_edge_circuits(offloaded, *case[1:], masks)
    assert_equal(found, expected, tolerance=0)


class Killed(Exception):
    pass


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("last", [0, 2, 5, 7])
def test_a_killed_run_is_resumed_with_the_same_bytes(
    tiny_model, tiny_pairs, tmp_path, ablation, last
):
    model, batches, graph = batches_and_graph(tiny_model, tiny_pairs)
    masks = random_masks(graph)
    settings = {"ablation": ablation, "rows": 1}

    def state():
        return Resume(tmp_path, {}, seconds=0)

    class Killing(Resume):
        saved = 0

        def save(self, **settings):
            super().save(**settings)
            Killing.saved += 1
            if Killing.saved > last:
                raise Killed

    with counting(model) as expected_passes:
        expected = run_edge_circuits(model, batches, graph, masks, **settings)
    with (
        pytest.raises(Killed),
        measured("x", "tiny", model, first := Killing(tmp_path, {}, seconds=0)),
    ):
        run_edge_circuits(model, batches, graph, masks, **settings, resume=first)
    with measured("x", "tiny", model, second := state()) as cost:
        found = run_edge_circuits(
            model, batches, graph, masks, **settings, resume=second
        )
    for name, values in vars(found).items():
        assert torch.equal(values, getattr(expected, name))
    assert {
        name: cost[name] for name in expected_passes.summary()
    } == expected_passes.summary()


def test_masks_of_another_graph_are_refused(tiny_model, tiny_pairs):
    model, batches, graph = batches_and_graph(tiny_model, tiny_pairs)
    with pytest.raises(
        ValueError, match=rf"expected \(circuits, n_edges\).*|{graph.n_edges}"
    ):
        run_edge_circuits(model, batches, graph, np.ones((1, 3), bool))
