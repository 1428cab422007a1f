"""Circuits of edges, against a forward pass with a stream for every reader."""

import numpy as np
import pytest
import torch
from reference_edges import ablated_outputs, run_edges
from test_reference_edges import CASES

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.edge_runs import run_edge_circuits
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches

DENSITIES = (0.03, 0.1, 0.3, 0.6, 0.95)


def random_masks(graph, densities=DENSITIES, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(graph.n_edges) < each for each in densities])


def oracle_outputs(model, batches, kind):
    """Return by batch the ablated outputs of all writers, by name."""
    if kind == "counterfactual":
        return [ablated_outputs(model, batch.corrupted) for batch in batches]
    clean = [ablated_outputs(model, batch.clean) for batch in batches]
    total = sum(batch.clean.numel() for batch in batches)
    mean = {
        name: sum(each[name].sum((0, 1)) for each in clean) / total for name in clean[0]
    }
    scale = 0.0 if kind == "zero" else 1.0
    return [{name: scale * value for name, value in mean.items()}] * len(batches)


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
