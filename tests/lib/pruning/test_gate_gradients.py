"""The gradient of every gate through the whole engine, against finite differences.

These are of a forward pass in plain float64, with a stream for every reader: norms of
`transformers` round to float32 in any model.
"""

import numpy as np
import pytest
import torch
from reference_edges import ablated_outputs, run_edges
from scipy.optimize import brentq

from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.interventions import plan_edges, soft_edge_logits
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning import constraints
from circuit_transfer.pruning.edge_pruning import edge_gates, node_gates
from circuit_transfer.pruning.hap import filtered_gates
from circuit_transfer.pruning.learned_masks import Setup
from circuit_transfer.pruning.settings import method_settings
from circuit_transfer.pruning.training import divergence

STEPS, STEP, SIZES = 10, 1e-5, (0.7, 0.5)
MAKERS = {
    "edge-pruning": edge_gates,
    "node-pruning": node_gates,
    "hap": filtered_gates,
}
CASES = [
    ("edge-pruning", {}),
    ("edge-pruning", {"node_gates": True}),
    ("edge-pruning", {"multiplier": "trained"}),
    ("node-pruning", {}),
    ("node-pruning", {"multiplier": "trained"}),
    ("hap", {"keep": 0.8}),
]


@pytest.fixture
def case(tiny_model, tiny_pairs):
    """Return a graph, and the losses `(sizes,)` of masks, of the engine and plain."""
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = tiny_model("llama", **heads).requires_grad_(False)
    graph = config_graph(model.config, KV_HEAD)
    batch = pair_batches(tiny_pairs(2), 2)[0]
    prepared = prepare_edges(model, [batch], graph, "counterfactual")[0]
    ablated = ablated_outputs(model, batch.corrupted)

    def by_engine(masks, step):
        plan = plan_edges(graph, masks.support[None], silent=True)
        drawn = masks.draw(step).float()
        logits = soft_edge_logits(model, prepared.runs, plan, drawn)
        logits = logits.unflatten(0, (len(SIZES), -1))
        return divergence(prepared, logits) + masks.penalty(step)

    def plain_logits(row):
        ends = tuple(map(torch.from_numpy, graph.ends))
        matrix = torch.zeros(graph.legal.shape, dtype=torch.float64)
        matrix[ends] = row
        return run_edges(model, batch.clean, ablated, matrix, KV_HEAD)[0]

    full = plain_logits(torch.ones(graph.n_edges, dtype=torch.float64))

    def plain(masks, step):
        logits = torch.stack([plain_logits(row) for row in masks.draw(step)])
        losses = answer_divergence(full, logits).mean(-1) + masks.penalty(step)
        return losses.detach()

    return graph, by_engine, plain


@pytest.fixture
def precise(monkeypatch):
    """Let shifts be solved for to the last bits of float64."""
    monkeypatch.setattr(constraints, "HALVINGS", 80)


def made(method, graph, **own):
    """Return the gates of a method in float64, some open, some closed, some between."""
    settings = method_settings(method, {method: {"steps": STEPS, **own}})
    scores = np.random.default_rng(1).normal(size=graph.n_edges).astype(np.float32)
    setup = Setup(method, graph, SIZES, settings, 0, torch.device("cpu"), scores)
    masks = MAKERS[method](setup)
    generator = torch.Generator().manual_seed(2)
    for each in masks.log_alphas():
        noise = torch.randn(each.shape, generator=generator, dtype=torch.float64)
        each.data = 0.5 + 1.5 * noise
    masks.start()
    if masks.multipliers is not None:
        masks.multipliers.values.data = torch.tensor(
            [[0.7, -0.4], [1.5, 2.5]], dtype=torch.float64
        )
    return masks


def parts(masks):
    """Yield all that is trained, and where one number of each size is."""
    for value in masks.log_alphas():
        yield value, [(slice(None), gate) for gate in range(value.shape[1])]
    if masks.multipliers is not None:
        yield masks.multipliers.values, [0, 1]


def assert_gradients(found, masks, losses, step):
    """Compare gradients with what moving every gate changes.

    The sizes have their own gates and losses, so that those of all are moved at once.
    """
    for (value, places), gradient in zip(parts(masks), found, strict=True):
        expected = torch.empty_like(gradient)
        for place in places:
            ends = []
            for way in (STEP, -STEP):
                value.data[place] += way
                ends.append(losses(masks, step))
                value.data[place] -= way
            expected[place] = (ends[0] - ends[1]) / (2 * STEP)
        error = (gradient - expected).abs().max()
        assert error <= 1e-4 * expected.abs().max()
        # A gate that is clipped has a gradient through the shift alone.
        assert (expected != 0).any(-1).all()
        assert (expected != 0).double().mean() > 0.5


def gradients(masks, losses, step):
    """Return the gradients of the sum of all losses."""
    values = [value for value, _ in parts(masks)]
    return torch.autograd.grad(losses(masks, step).sum(), values)


@pytest.mark.usefixtures("precise")
@pytest.mark.parametrize(("method", "own"), CASES)
def test_every_gate_has_the_gradient_of_the_loss(case, method, own):
    graph, by_engine, plain = case
    masks = made(method, graph, **own)
    assert_gradients(gradients(masks, by_engine, 0), masks, plain, 0)


@pytest.mark.parametrize("method", ["edge-pruning", "node-pruning"])
def test_later_gradients_run_through_the_shift_that_holds_the_expected_share(
    case, method
):
    graph, by_engine, plain = case
    masks, step = made(method, graph), STEPS // 2
    found = gradients(masks, by_engine, step)
    solved = masks.shift(step).detach()

    def share(shift):
        with torch.no_grad():
            return masks.open_edges(shift).sum(1) / graph.n_edges

    held = share(solved)

    def holding(_step):
        """Solve for each size alone, by the probability that gates are not closed."""

        def excess(shift, size):
            return (share(torch.full_like(solved, shift)) - held)[size].item()

        roots = [
            brentq(excess, low - 1, low + 1, args=(size,), xtol=1e-15)
            for size, low in enumerate(solved.tolist())
        ]
        return torch.tensor(roots, dtype=torch.float64)

    masks.shift = holding
    assert_gradients(found, masks, plain, step)
