"""Edges that learned circuits leave open, against the circuits of planted models."""

from functools import cache

import numpy as np
import pytest
from planted_cases import planted_case, split_batch
from small import section

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.recovery import BACKUPS, open_row
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.pruning.hap import HAP
from circuit_transfer.pruning.learned import learn_edges

SEEDS = range(3)
# The kind of corrupted prompts. Of `subspaces` half of the pairs are exchanged; of
# `backup` none, since what is closed must not write what its twin would.
KINDS = {"subspaces": None, "induction": "mix", "backup": "late"}
# By method what differs from the settings that stand; a row here tests another one.
METHODS = {"edge-pruning": {}, HAP: {"keep": 0.5}}


@cache
def planted(construction, seed):
    """Return a planted model, batches, graph, the true edges, and its alternatives."""
    kind = KINDS[construction]
    entry = {"construction": construction, "seed": seed}
    made, model, batch = planted_case(entry, 48, kind=kind)
    key = kind or next(iter(made.circuits))
    alternatives = made.alternatives.get(key, {}).get(KV_HEAD, [])
    graph = config_graph(model.config, KV_HEAD)
    return (
        model,
        split_batch(batch, 8),
        graph,
        made.circuits[key][KV_HEAD],
        alternatives,
    )


def sufficient(circuit, alternatives):
    """Return how many edges suffice: of each group of backups the fewest."""
    backed_up = {name for group in alternatives for edges in group for name in edges}
    fewest = sum(min(map(len, group)) for group in alternatives)
    return len({*circuit} - backed_up) + fewest


def found(method, construction, seed):
    """Return how the edges that a training leaves open compare with the circuit."""
    model, batches, graph, circuit, alternatives = planted(construction, seed)
    # Just above the share, so that rounding down gives the number.
    size = sufficient(circuit, alternatives) / graph.n_edges + 1e-9
    scores = None
    if method == HAP:
        by = attribute_edges(model, batches, graph, method="eap-ig-inputs")
        scores = graph.flat(by.scores.numpy())
    learned = learn_edges(
        *(method, model, batches, graph),
        settings=section(method, [size], **METHODS[method]),
        seed=seed,
        filter_scores=scores,
    )
    kept = edge_circuits(learned.scores, [learned.open_share[0] + 1e-9])[0, 0]
    return open_row(graph.edge_names(), kept, circuit, alternatives)


@pytest.mark.parametrize("construction", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_open_edges_are_those_of_the_planted_circuit(method, construction):
    rows = [found(method, construction, seed) for seed in SEEDS]
    assert np.mean([row["precision"] for row in rows]) >= 0.98
    assert np.mean([row["recall"] for row in rows]) >= 0.9
    if construction == "backup":
        # Of the 9 edges that suffice there is none left for both of a pair. Of the six
        # pairs, with HAP one or two are lost: by the rounding of a processor, the last
        # gates close or stay open.
        _, one_kept, both_kept = (sum(row[name] for row in rows) for name in BACKUPS)
        assert one_kept >= 4 and both_kept == 0
