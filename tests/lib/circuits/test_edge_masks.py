"""Circuits of edges as masks, against paths found one by one."""

import time

import numpy as np
import pytest

from circuit_transfer.circuits.edge_masks import (
    edge_circuits,
    effective_edges,
    lifted,
    node_circuit,
    node_counts,
)
from circuit_transfer.models.edges import KV, edge_graph


def paths(graph, kept):
    """Return the edges on paths from input to logits, each path followed by itself."""
    names = [name for name, own in zip(graph.edge_names(), kept, strict=True) if own]
    after = {}
    for name in names:
        writer, reader = name.split("->")
        after.setdefault(writer, []).append(reader)
    found = set()

    def writers_of(reader):
        return [
            graph.writers[u]
            for u in np.flatnonzero(graph.used_by[:, graph.readers.index(reader)])
        ]

    def follow(writer, path):
        for reader in after.get(writer, []):
            longer = [*path, f"{writer}->{reader}"]
            if reader == "logits":
                found.update(longer)
            for following in writers_of(reader):
                follow(following, longer)

    follow("input", [])
    return np.array([name in found for name in graph.edge_names()])


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kv", KV)
def test_effective_edges_are_those_on_paths(kv, parallel, coupled):
    graph = edge_graph(2, 4, 2, kv=kv, parallel_mlp=parallel, coupled=coupled)
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.02, 0.4, (4, 5, 1))
    masks = rng.random((4, 5, graph.n_edges)) < shares
    found = effective_edges(graph, masks)
    expected = [[paths(graph, mask) for mask in row] for row in masks]
    assert np.array_equal(found, expected)
    assert found.any() and (found != masks).any()
    nodes = [[names(graph, mask) for mask in row] for row in found]
    assert np.array_equal(node_counts(graph, found), nodes)


def names(graph, mask):
    kept = [name for name, own in zip(graph.edge_names(), mask, strict=True) if own]
    ends = {end.split("<")[0] for name in kept for end in name.split("->")}
    if graph.kv == "kv-head" or graph.coupled:
        # The reader of a key may be that of a head whose number is not its own.
        ends = {name.split("->")[0] for name in kept}
    return len(ends - {"input", "logits"})


def test_the_highest_scores_come_first_and_equal_ones_in_order():
    scores = np.array([[0.5, 2.0, -3.0, 2.0, 0.5, 0.5]], np.float32)
    masks = edge_circuits(scores, [0.0, 0.17, 1 / 3, 0.6, 1.0])
    kept = [np.flatnonzero(mask).tolist() for mask in masks[0]]
    assert kept == [[], [1], [1, 3], [0, 1, 3], [0, 1, 2, 3, 4, 5]]
    with pytest.raises(ValueError, match="NaN"):
        edge_circuits(np.array([[0.0, np.nan]], np.float32), [0.5])


def users(reader, kv):
    """Name the nodes that a reader is part of, in layers of two heads and one key."""
    node, _, kind = reader.partition("<")
    if kv == "kv-head" and kind in ("k>", "v>"):
        return {f"{node[:2]}.h0", f"{node[:2]}.h1"}
    return {node}


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("highest", [0.4, 5.0])
def test_lifted_scores_give_circuits_of_nodes(highest, kv):
    graph = edge_graph(2, 2, 1, kv=kv)
    scores = np.array([[0.3, -5.0, highest, 0.2, 0.1, -0.5]], np.float32)
    # By absolute values too, the highest of which is that of a negative score.
    for ranking in (scores, np.abs(scores)):
        edges = lifted(graph, ranking)
        assert np.isfinite(edges).all() and edges.dtype == np.float32
        for kept in range(7):
            nodes = np.zeros((1, 6), bool)
            nodes[0, np.argsort(-ranking[0], kind="stable")[:kept]] = True
            if highest == 5.0 and ranking is not scores and kept == 1:
                continue  # two nodes are equal
            inside = {"input", "logits", *np.array(graph.writers[1:])[nodes[0]]}
            names = (edge.split("->") for edge in graph.edge_names())
            among = [u in inside and bool(inside & users(v, kv)) for u, v in names]
            (circuit,) = edge_circuits(edges, [sum(among) / graph.n_edges])[:, 0]
            assert np.array_equal(circuit, among)
            expected = effective_edges(graph, node_circuit(graph, nodes))
            assert np.array_equal(effective_edges(graph, circuit[None]), expected)


def test_a_large_model_has_its_effective_edges_in_well_under_a_second():
    graph = edge_graph(32, 32, 8)
    mask = np.random.default_rng(0).random(graph.n_edges) < 0.01
    graph.ends  # noqa: B018
    start = time.process_time()
    found = effective_edges(graph, mask)
    assert time.process_time() - start < 0.7
    assert 0 < found.sum() < mask.sum()
