"""Edges ablated one by one, beside a slow run with a residual stream per reader."""

import numpy as np
import pytest
import reference
import torch
from accelerate import cpu_offload
from reference_edges import ablated_outputs, run_edges
from trained_model import ioi_case

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.exact_edges import exact_edges
from circuit_transfer.circuits.verification import verify_scores
from circuit_transfer.interventions import counting
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches

CASES = [(family, {}) for family in sorted(ARCHITECTURES)]
CASES.append(("gpt_neox", {"use_parallel_residual": False}))


def drop(model, pair, graph, ablated, edge):
    mask = torch.ones(len(graph.writers), len(graph.readers), dtype=torch.float64)
    diffs = []
    for value in (1.0, 0.0):
        mask[graph.ends[0][edge], graph.ends[1][edge]] = value
        logits, _ = run_edges(model, pair.clean, ablated, mask, graph.kv)
        answers = pair.answers, pair.wrong_answers
        diffs.append(reference.logit_diff(logits[:, None], *answers))
    return (diffs[0] - diffs[1]).item()


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_effects_are_those_of_plain_patching(
    tiny_model, tiny_pairs, family, settings, kv
):
    model = tiny_model(family, **settings).requires_grad_(False)
    pairs = tiny_pairs(4)
    graph = config_graph(model.config, kv)
    generator = np.random.default_rng(0)
    # Of every kind of reader and of the first and last writers some.
    edges = generator.choice(graph.n_edges, 25, replace=False)
    edges = np.unique([*edges, 0, graph.n_edges - 1, graph.n_edges - 8])
    found = exact_edges(model, pair_batches(pairs, 2), graph, edges)
    assert found.shape == (4, len(edges)) and found.dtype == torch.float32
    for row, pair in enumerate(pair_batches(pairs, 1)):
        with torch.no_grad():
            ablated = ablated_outputs(model, pair.corrupted)
            expected = [drop(model, pair, graph, ablated, edge) for edge in edges]
        scale = np.abs(expected).max()
        assert found[row].numpy() == pytest.approx(expected, abs=1e-5 * scale)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_other_ablations_replace_the_token_embeddings_too(
    tiny_model, tiny_pairs, ablation
):
    model = tiny_model("gpt2").requires_grad_(False)
    pairs = tiny_pairs(4)
    batches = pair_batches(pairs, 2)
    graph = config_graph(model.config)
    edges = np.arange(0, graph.n_edges, 11)
    found = exact_edges(model, batches, graph, edges, ablation=ablation)
    outputs = [
        {name: value[0] for name, value in ablated_outputs(model, pair.clean).items()}
        for pair in pair_batches(pairs, 1)
    ]
    if ablation == "zero":
        ablated = dict.fromkeys(graph.writers, 0.0)
    else:
        every = {name: [each[name] for each in outputs] for name in graph.writers}
        ablated = {name: torch.cat(rows).mean(0) for name, rows in every.items()}
    for row, pair in enumerate(pair_batches(pairs, 1)):
        with torch.no_grad():
            expected = [drop(model, pair, graph, ablated, edge) for edge in edges]
        assert found[row].numpy() == pytest.approx(expected, abs=1e-5, rel=1e-4)


def test_every_edge_has_its_effect_in_the_matrix_of_scores(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    batches, graph = pair_batches(tiny_pairs(4), 2), config_graph(model.config)
    whole = attribute_edges(model, batches, graph, method="eap-exact", by_example=True)
    edges = np.random.default_rng(0).permutation(graph.n_edges)[:20]
    some = exact_edges(model, batches, graph, edges)
    torch.testing.assert_close(whole.by_example[:, torch.from_numpy(edges)], some)
    flat = torch.from_numpy(graph.flat(whole.scores.numpy()))
    torch.testing.assert_close(flat, whole.by_example.mean(0))


def test_nothing_below_a_reader_runs_again(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=4).requires_grad_(False)
    (batch, _), graph = (
        pair_batches(tiny_pairs(4, shared=0), 2),
        config_graph(model.config),
    )

    def share(name):
        """Return how much of a pass was run, by the weights that were applied."""
        with counting(model) as passes:
            exact_edges(model, [batch], graph, np.array([names.index(name)]))
        return passes.products / passes.weights / batch.clean.numel()

    names = graph.edge_names()
    # The clean and the corrupted run, and what is above the reader: in the last layer
    # of the answer position alone.
    assert share("m0->logits") == 2
    last = 1 / 4 / batch.clean.shape[1]
    assert 2 < share("m0->m3") <= 2 + last
    # The value of the reader, the heads and the MLPs of the layers that follow.
    value, heads, read = 32 * 8, 32 * 32, 32 * 32 + 2 * 32 * 16
    rest = heads + 3 * 32 * 48
    layer, end = read + rest, rest / batch.clean.shape[1]
    assert share("m0->a3.h1<v>") == pytest.approx(2 + (value + end) / (4 * layer))
    first = value + rest + 2 * layer + read + end
    assert share("input->a0.h0<q>") == pytest.approx(2 + first / (4 * layer))


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "olmo2"])
def test_weights_may_be_offloaded(tiny_model, tiny_pairs, family):
    batches = pair_batches(tiny_pairs(4), 2)
    model = tiny_model(family).requires_grad_(False)
    graph = config_graph(model.config)
    edges = np.arange(0, graph.n_edges, 7)
    expected = exact_edges(model, batches, graph, edges)
    model = cpu_offload(tiny_model(family), execution_device=torch.device("cpu"))
    assert next(model.parameters()).is_meta
    found = exact_edges(model.requires_grad_(False), batches, graph, edges)
    assert torch.equal(found, expected)


def test_scores_of_a_trained_model_agree_as_those_of_eap_ig():
    """On 12 pairs of ioi by its own code: .87 for EAP, .99 for EAP-IG.

    Of all edges: a few large ones decide, and not the same for every method.
    """
    model, batches = ioi_case()
    graph = config_graph(model.config)
    exact = exact_edges(model, batches, graph, np.arange(graph.n_edges))
    expected = {("eap", "right"): 0.87}
    expected |= {("eap-ig-inputs", grid): 0.99 for grid in ("left", "right")}
    for (method, grid), correlation in expected.items():
        found = attribute_edges(model, batches, graph, method=method, grid=grid)
        scores = graph.flat(found.scores.numpy())
        agreement = verify_scores(scores, exact.double().mean(0).numpy())
        assert agreement["pearson"] == pytest.approx(correlation, abs=0.01)
