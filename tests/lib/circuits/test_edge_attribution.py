"""Scores of edges against the slow implementation with a stream for every reader."""

import pytest
import torch
from reference_edges import (
    ablated_outputs,
    conductances,
    edge_scores,
    run_edges,
    site_scores,
)

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_steps import GRIDS
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches

CASES = [*((family, {}) for family in sorted(ARCHITECTURES))]
CASES.append(("gpt_neox", {"use_parallel_residual": False}))


def assert_scores(actual, expected, share=1e-5):
    """Compare scores with a tolerance relative to the largest of them."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=0, atol=share * scale
    )


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_eap_is_the_gradient_of_a_mask(tiny_model, tiny_pairs, family, settings, kv):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), tiny_pairs(4)
    expected = torch.stack(
        [edge_scores(model, pair, kv) for pair in pair_batches(pairs, 1)]
    )
    settings = {"method": "eap", "by_example": True}
    found = attribute_edges(model, pair_batches(pairs, 2), graph, **settings)
    assert found.scores.dtype == found.by_example.dtype == torch.float32
    assert_scores(found.scores, expected.mean(0))
    writers, readers = map(torch.from_numpy, graph.ends)
    assert_scores(found.by_example, expected[:, writers, readers])


ORACLES = {
    "eap-ig-inputs": edge_scores,
    "eap-ig-activations": site_scores,
    "eap-conductance": conductances,
}


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(
    ("method", "grid"),
    [
        ("eap-ig-inputs", "right"),
        ("eap-ig-inputs", "left"),
        ("eap-ig-activations", "mid"),
        ("eap-conductance", "mid"),
    ],
)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_integrated_scores_equal_the_slow_implementation(
    tiny_model, tiny_pairs, family, settings, method, kv, grid
):
    assert_equals_the_oracle(tiny_model, tiny_pairs, family, settings, method, kv, grid)


# Of those families that differ in how runs are made: a norm over the heads or none.
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_grid_says_where_in_a_step_the_gradient_is_taken(
    tiny_model, tiny_pairs, family, method, grid
):
    assert_equals_the_oracle(
        tiny_model, tiny_pairs, family, {}, method, "kv-head", grid
    )


def assert_equals_the_oracle(
    tiny_model, tiny_pairs, family, settings, method, kv, grid
):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), tiny_pairs(2)
    offset = {"right": 1, "left": 0, "mid": 0.5}[grid]
    places = [(step + offset) / 3 for step in range(3)]
    oracle = ORACLES[method]
    expected = [oracle(model, pair, kv, places) for pair in pair_batches(pairs, 1)]
    settings = {"method": method, "ig_steps": 3, "grid": grid}
    found = attribute_edges(model, pair_batches(pairs, 2), graph, **settings)
    assert_scores(found.scores, torch.stack(expected).mean(0))


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_other_ablations_ablate_the_input_too(
    tiny_model, tiny_pairs, family, settings, kv, ablation
):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), pair_batches(tiny_pairs(4), 1)
    outputs = [ablated_outputs(model, pair.clean) for pair in pairs]
    found = attribute_edges(
        model, pair_batches(tiny_pairs(4), 2), graph, method="eap", ablation=ablation
    )
    scores, effects = [], []
    for pair, own in zip(pairs, outputs, strict=True):
        ablated = {}
        for name, value in own.items():
            rows = torch.cat([each[name][0] for each in outputs])
            mean = rows.mean(0) if ablation == "mean" else torch.zeros(())
            ablated[name] = mean.expand_as(value)
        scores.append(edge_scores(model, pair, kv, ablated=ablated))
        ends = []
        for mask in (torch.ones, torch.zeros):
            mask = mask(graph.legal.shape, dtype=torch.float64)
            logits, _ = run_edges(model, pair.clean, ablated, mask, kv)
            ends.append(pair.logit_diff(logits))
        effects.append(ends[0] - ends[1])
    assert_scores(found.scores, torch.stack(scores).mean(0))
    assert_scores(found.effect, torch.cat(effects))
