"""Edges restored after a training, against plain autograd and lost true edges."""

import numpy as np
import pytest
import torch
from reference_edges import oracle_outputs, run_edges
from small import planted, section

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.metrics import answer_divergence, unfaithfulness
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.learned import learn_edges
from circuit_transfer.pruning.outcomes import LearnedEdges, exact_circuits
from circuit_transfer.pruning.restoring import loss_slopes, restored
from circuit_transfer.pruning.settings import method_settings


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("objective", ["kl", "logit-diff"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_slopes_are_those_of_plain_autograd(
    tiny_model, tiny_pairs, family, objective, ablation
):
    model = tiny_model(family).requires_grad_(False)
    graph = config_graph(model.config, KV_HEAD)
    # Of different sizes: every pair counts the same.
    batches = pair_batches(tiny_pairs(5), 3)
    assert [len(batch) for batch in batches] == [3, 2]
    shares = np.array([[0.4], [0.8]])
    circuits = np.random.default_rng(0).random((2, graph.n_edges)) < shares
    expected = torch.zeros(circuits.shape, dtype=torch.float64)
    outputs = oracle_outputs(model, batches, ablation)
    for batch, ablated in zip(batches, outputs, strict=True):
        own = torch.from_numpy(circuits).double().requires_grad_()
        loss = plain_losses(model, graph, batch, ablated, own, objective).sum()
        expected += len(batch) / 5 * torch.autograd.grad(loss, own)[0]
    prepared = prepare_edges(model, batches, graph, ablation)
    found = loss_slopes(model, prepared, graph, objective, circuits)
    assert found.dtype == np.float32
    error = np.abs(found - expected.numpy()).max(1)
    assert (error <= 5e-5 * np.abs(expected.numpy()).max(1)).all()
    assert (expected.numpy()[~circuits] != 0).mean() > 0.2


def plain_losses(model, graph, batch, ablated, shares, objective):
    """Return the loss of soft circuits in float64, with a stream for every reader."""

    def logits(row):
        matrix = torch.zeros(graph.legal.shape, dtype=torch.float64)
        ends = tuple(map(torch.from_numpy, graph.ends))
        matrix = matrix.index_put(ends, row)
        return run_edges(model, batch.clean, ablated, matrix, KV_HEAD)[0]

    full, empty = (logits(torch.full_like(shares[0], each)) for each in (1, 0))
    rows = torch.stack([logits(row) for row in shares])
    if objective == "kl":
        return answer_divergence(full, rows).mean(-1)
    return unfaithfulness(batch, full.detach(), empty.detach(), rows)


def test_the_last_edges_are_those_that_lower_the_loss_most():
    scores = np.float32([[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]] * 2)
    kept = np.arange(10) < np.array([[6], [3]])
    found = LearnedEdges(scores, kept, kept.mean(1), {}, notes={"filter": "eap"})
    asked = []

    def slopes(circuits):
        asked.append(circuits)
        # Of the first circuit, one of its own last edges and two others; of the second
        # none, whatever those inside would do.
        second = [-1, -1, 2, 2, 2, 1, 2, 2, 2, 2]
        return np.float32([[-9, 0, 1, 0, -1, 1, 0, 2, -3, -2], second])

    new = restored(found, (0.6, 0.3), 0.5, slopes)
    assert asked[0].sum(1).tolist() == [3, 2]
    assert (asked[0] <= kept).all()
    order = np.argsort(-new.scores, axis=1)
    assert order.tolist() == [[0, 1, 2, 8, 9, 4, 3, 5, 6, 7], [*range(10)]]
    assert np.flatnonzero(new.kept[0]).tolist() == [0, 1, 2, 4, 8, 9]
    assert np.flatnonzero(new.kept[1]).tolist() == [0, 1, 2]
    assert new.notes == {"filter": "eap", "restored_edges": [2, 0]}
    assert (np.sort(new.scores) == np.sort(scores)).all()


@pytest.mark.parametrize("edge", ["a0.h0->m0", "a0.h0->a1.h0<v>"])
def test_a_true_edge_that_the_filter_lost_is_restored(edge):
    model, batches, graph, truth = planted({"construction": "subspaces"}, None)
    scores = attribute_edges(model, batches, graph, method="eap-ig-inputs").scores
    filter_scores = graph.flat(scores.numpy())
    lost = graph.edge_names().index(edge)
    assert truth[lost]
    filter_scores[lost] = 0

    def learned(**own):
        size = truth.mean() + 1e-9
        return learn_edges(
            *("hap", model, batches, graph),
            settings=section("hap", [size], keep=0.5, **own),
            seed=0,
            filter_scores=filter_scores,
        )

    without, found = learned(restore=0), learned(restore=0.1)
    assert not without.kept[0, lost] and "restored_edges" not in without.notes
    assert found.kept[0, lost] and found.kept.sum() == truth.sum()
    assert truth[found.kept[0]].sum() > truth[without.kept[0]].sum()
    (new,) = found.notes["restored_edges"]
    assert new == (found.kept & ~without.kept).sum()
    # Rankings give the circuit, and all else is as it was.
    assert np.array_equal(found.kept, exact_circuits(found.scores, [truth.mean()]))
    assert np.array_equal(np.sort(found.scores), np.sort(without.scores))
    assert np.array_equal(found.open_share, without.open_share)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_only_a_share_of_a_circuit_can_be_restored(share):
    with pytest.raises(ValueError, match=f"^pruning.hap.restore is {share}: expected"):
        method_settings("hap", {"hap": {"restore": share}})
    assert method_settings("hap", {"hap": {"preset": "paper"}}).restore == 0
