"""The oracle of edges is the oracle of nodes where the mask says nothing else."""

import pytest
import reference
import torch
from reference_edges import ablated_outputs, run_edges

from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.prompts.batches import pair_batches

CASES = [*((family, {}) for family in sorted(ARCHITECTURES))]
CASES.append(("gpt_neox", {"use_parallel_residual": False}))


def case(tiny_model, tiny_pairs, family, settings, kv):
    model = tiny_model(family, **settings)
    batch = pair_batches(tiny_pairs(4), 2)[-1]
    graph = config_graph(model.config, kv)
    return model, batch, graph, ablated_outputs(model, batch.corrupted)


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_all_and_no_edges_are_the_clean_and_the_corrupted_run(
    tiny_model, tiny_pairs, family, settings, kv
):
    model, batch, graph, ablated = case(tiny_model, tiny_pairs, family, settings, kv)
    shape = len(graph.writers), len(graph.readers)
    for value, ids in ((1.0, batch.clean), (0.0, batch.corrupted)):
        mask = torch.full(shape, value, dtype=torch.float64)
        logits, _ = run_edges(model, batch.clean, ablated, mask, kv)
        expected, _ = reference.run(model, ids)
        torch.testing.assert_close(logits, expected[:, -1])


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_all_edges_of_some_writers_are_a_circuit_of_nodes(
    tiny_model, tiny_pairs, family, settings, kv
):
    model, batch, graph, ablated = case(tiny_model, tiny_pairs, family, settings, kv)
    kept = {"input", "a0.h1", "m0", "a1.h0", "a1.h2"}
    rows = torch.tensor([name in kept for name in graph.writers]).double()
    mask = rows[:, None].expand(-1, len(graph.readers))
    logits, _ = run_edges(model, batch.clean, ablated, mask, kv)
    outside = {name: ablated[name] for name in graph.writers[1:] if name not in kept}
    expected, _ = reference.run(model, batch.clean, edit=reference.replaced(outside))
    torch.testing.assert_close(logits, expected[:, -1])
