"""Soft masks of edges and their gradients, against a stream for every reader."""

import numpy as np
import pytest
import torch
from reference_edges import oracle_outputs, run_edges
from test_reference_edges import CASES

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.edge_runs import edge_ablation_of, edge_runs
from circuit_transfer.interventions import (
    Storage,
    edge_logits,
    plan_edges,
    soft_edge_logits,
)
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches


def prepared(tiny_model, tiny_pairs, family, settings, kv, ablation="counterfactual"):
    """Return a model, a batch of pairs, its runs, and how to plan a support."""
    model = tiny_model(family, **settings)
    batch = pair_batches(tiny_pairs(4), 2)[0]
    graph = config_graph(model.config, kv)
    ablated = edge_ablation_of(model, [batch], ablation)
    with torch.no_grad():
        runs = edge_runs(model, ablated.nodes.shorten(batch), graph, ablated)

    def plan(support):
        return plan_edges(graph, support[None], silent=ablation == "counterfactual")

    return model, batch, runs, plan


def random_shares(graph, circuits, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(circuits, graph.n_edges, generator=generator)
    # Some at the ends, as hard concrete gates often are.
    return (1.5 * drawn - 0.25).clamp(0, 1)


def weighted(logits):
    """Return a number that depends on all logits."""
    weights = torch.linspace(-1, 1, logits.shape[-1]).to(logits)
    return (logits * weights).sum()


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_logits_and_gradients_equal_those_of_plain_autograd(
    tiny_model, tiny_pairs, family, settings, kv, ablation
):
    model, batch, runs, plan = prepared(
        tiny_model, tiny_pairs, family, settings, kv, ablation
    )
    graph = runs.graph
    shares = random_shares(graph, 2)
    (ablated,) = oracle_outputs(model, [batch], ablation)
    own = shares.double().requires_grad_()
    matrices = torch.zeros(2, *graph.legal.shape, dtype=torch.float64)
    ends = [torch.from_numpy(each) for each in graph.ends]
    matrices = matrices.index_put((torch.arange(2)[:, None], *ends), own)
    expected = torch.cat(
        [run_edges(model, batch.clean, ablated, each, kv)[0] for each in matrices]
    )
    (by_plain,) = torch.autograd.grad(weighted(expected), own)

    masks = shares.clone().requires_grad_()
    found = soft_edge_logits(model, runs, plan(np.ones(graph.n_edges, bool)), masks)
    weighted(found).backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    error = (masks.grad - by_plain).abs().max()
    assert error <= 2e-5 * by_plain.abs().max()


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "olmo2", "gpt_neox"])
def test_edges_outside_the_support_are_absent(tiny_model, tiny_pairs, family, kv):
    model, _, runs, plan = prepared(tiny_model, tiny_pairs, family, {}, kv)
    n_edges = runs.graph.n_edges
    for density in (0.1, 0.4, 0.8):
        support = np.random.default_rng(0).random(n_edges) < density
        shares = random_shares(runs.graph, 1)
        inside = (shares * torch.from_numpy(support)).requires_grad_()
        whole = soft_edge_logits(model, runs, plan(np.ones(n_edges, bool)), inside)
        (expected,) = torch.autograd.grad(weighted(whole), inside)
        masks = shares.clone().requires_grad_()
        found = soft_edge_logits(model, runs, plan(support), masks)
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
        (gradient,) = torch.autograd.grad(weighted(found), masks)
        assert not gradient[0, ~support].any()
        error = (gradient - expected)[0, support].abs().max()
        assert error <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "gpt_neox"])
def test_masks_of_ones_and_zeros_are_circuits(tiny_model, tiny_pairs, family):
    model, _, runs, plan = prepared(tiny_model, tiny_pairs, family, {}, "kv-head")
    rng = np.random.default_rng(0)
    circuits = rng.random((3, runs.graph.n_edges)) < np.array([[0.1], [0.5], [0.9]])
    every = np.ones(runs.graph.n_edges, bool)
    with torch.no_grad():
        hard = plan_edges(runs.graph, circuits, silent=True)
        expected = edge_logits(model, runs, hard)
        found = soft_edge_logits(
            model, runs, plan(every), torch.from_numpy(circuits).float()
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Soft(torch.nn.Module):
    """Soft circuits of a model, whose weights can be swapped."""

    def __init__(self, model, runs, plan):
        super().__init__()
        self.model, self.runs, self.plan = model, runs, plan

    def forward(self, masks):
        return soft_edge_logits(self.model, self.runs, self.plan, masks)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "gemma2", "olmo2"])
def test_weights_that_are_swapped_in_have_gradients(tiny_model, tiny_pairs, family):
    model, _, runs, plan = prepared(tiny_model, tiny_pairs, family, {}, "query-head")
    every = plan(np.ones(runs.graph.n_edges, bool))
    masks = random_shares(runs.graph, 1)
    wrapped = Soft(model, runs, every)
    names = [
        name
        for name, value in model.named_parameters()
        if value.ndim == 2 and ("layers.1." in name or "h.1." in name)
    ]
    generator = torch.Generator().manual_seed(0)
    for name in names:
        weight = model.get_parameter(name)
        swapped = weight.detach().clone().requires_grad_()
        loss = weighted(
            torch.func.functional_call(wrapped, {f"model.{name}": swapped}, (masks,))
        )
        (gradient,) = torch.autograd.grad(loss, swapped)
        way = torch.randn(weight.shape, generator=generator) * weight.std()
        moved = []
        with torch.no_grad():
            for step in (-1e-2, 1e-2):
                new = {f"model.{name}": weight + step * way}
                moved.append(
                    weighted(torch.func.functional_call(wrapped, new, (masks,)))
                )
        expected = (moved[1] - moved[0]) / 2e-2
        assert torch.isclose((gradient * way).sum(), expected, rtol=0.03, atol=1e-3)


def test_masks_of_another_graph_are_refused(tiny_model, tiny_pairs):
    model, _, runs, plan = prepared(tiny_model, tiny_pairs, "llama", {}, "kv-head")
    every = np.ones(runs.graph.n_edges, bool)
    with pytest.raises(ValueError, match=r"expected a plan of 1, and \(circuits"):
        soft_edge_logits(model, runs, plan(every), torch.ones(1, 3))
    two = plan_edges(runs.graph, np.stack([every, every]), silent=True)
    with pytest.raises(ValueError, match="a plan of 2 circuits"):
        soft_edge_logits(model, runs, two, torch.ones(1, len(every)))


def test_passes_share_memory_one_after_the_other(tiny_model, tiny_pairs):
    """What an earlier pass left there, of more circuits, changes nothing."""
    model, _, runs, plan = prepared(tiny_model, tiny_pairs, "olmo2", {}, "kv-head")
    every, storage = plan(np.ones(runs.graph.n_edges, bool)), Storage()
    for circuits, seed in ((3, 0), (1, 1), (2, 2)):
        shares = random_shares(runs.graph, circuits) * 0.5**seed
        found = []
        for own in (storage, None):
            masks = shares.clone().requires_grad_()
            logits = soft_edge_logits(model, runs, every, masks, own)
            weighted(logits).backward()
            found.append((logits.detach(), masks.grad))
        for shared, fresh in zip(*found, strict=True):
            assert torch.equal(shared, fresh)
    masks = random_shares(runs.graph, 1).requires_grad_()
    first = soft_edge_logits(model, runs, every, masks, storage)
    soft_edge_logits(model, runs, every, masks, storage)
    with pytest.raises(RuntimeError, match="take every pass back before the next"):
        weighted(first).backward()
