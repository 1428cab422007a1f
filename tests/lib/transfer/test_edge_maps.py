"""Maps of edge scores in two factors, against products written out."""

from itertools import product

import numpy as np
import pytest

from circuit_transfer.models.edges import KV_HEAD, QUERY_HEAD, edge_graph
from circuit_transfer.transfer.edge_maps import (
    blocks,
    edge_kinds,
    lifted_map,
    permutation_within,
    random_map,
    reader_kinds,
    writer_kinds,
)

SOURCE = edge_graph(2, 2, 1)
TARGET = edge_graph(3, 4, 2)


def test_scores_go_through_both_ends():
    edges = random_map(SOURCE, TARGET, 0)
    scores = np.random.default_rng(1).normal(size=SOURCE.n_edges).astype(np.float32)
    found = scores @ edges
    expected = np.zeros(TARGET.n_edges)
    own = list(zip(*SOURCE.ends, strict=True))
    for number, (u, v) in enumerate(zip(*TARGET.ends, strict=True)):
        for score, (a, b) in zip(scores, own, strict=True):
            expected[number] += edges.writers[a, u] * score * edges.readers[b, v]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == np.float32


def test_several_scores_are_mapped_as_each_alone():
    edges = random_map(SOURCE, TARGET, 0)
    scores = np.random.default_rng(1).normal(size=(3, SOURCE.n_edges))
    both = scores @ edges
    for one, found in zip(scores, both, strict=True):
        np.testing.assert_allclose(one @ edges, found)


def test_unknown_scores_stay_unknown():
    unknown = np.full(SOURCE.n_edges, np.nan, np.float32)
    assert np.isnan(unknown @ random_map(SOURCE, TARGET, 0)).all()


def test_kinds_of_writers_and_readers():
    assert writer_kinds(SOURCE).tolist() == ["input", *["head", "head", "mlp"] * 2]
    layer = ["q", "q", "k", "k", "v", "v", "mlp"]
    assert reader_kinds(SOURCE).tolist() == [*layer * 2, "logits"]


def test_edges_are_of_one_kind_where_both_ends_are():
    kinds = edge_kinds(TARGET)
    ends = writer_kinds(TARGET), reader_kinds(TARGET)
    pairs = [(ends[0][u], ends[1][v]) for u, v in zip(*TARGET.ends, strict=True)]
    for a, b in product(range(0, TARGET.n_edges, 7), range(TARGET.n_edges)):
        assert (kinds[a] == kinds[b]) == (pairs[a] == pairs[b])


def test_a_permutation_within_kinds_moves_some_of_each_and_mixes_none():
    kinds = edge_kinds(TARGET)
    order = permutation_within(kinds, np.random.default_rng(0))
    assert sorted(order) == [*range(TARGET.n_edges)]
    assert (kinds[order] == kinds).all()
    assert (order != np.arange(TARGET.n_edges)).mean() > 0.5


def test_permuted_columns_stay_within_their_kind():
    edges = random_map(SOURCE, TARGET, 0)
    other = edges.permuted(np.random.default_rng(3))
    for name, kinds in (("writers", writer_kinds), ("readers", reader_kinds)):
        before, after = getattr(edges, name), getattr(other, name)
        assert not np.array_equal(before, after)
        assert ((after != 0) == (before != 0)).all()
        np.testing.assert_allclose(sorted(before.sum(0)), sorted(after.sum(0)))
        assert kinds(TARGET).shape == after.shape[1:]


@pytest.mark.parametrize("kv", [QUERY_HEAD, KV_HEAD])
def test_the_identity_of_nodes_is_the_identity_of_edges(kv):
    graph = edge_graph(2, 4, 2, kv=kv)
    edges = lifted_map(np.eye(len(graph.writers) - 1), graph, graph)
    np.testing.assert_array_equal(edges.writers, np.eye(len(graph.writers)))
    np.testing.assert_array_equal(edges.readers, np.eye(len(graph.readers)))
    assert edges.reached().all()


def test_readers_go_where_their_node_goes():
    nodes = np.zeros((6, 15), np.float32)
    # a0.h1 to a1.h3 (heads 0-3 and an MLP a layer), m1 to m2.
    nodes[1, 8], nodes[5, 14] = 0.5, 1
    edges = lifted_map(nodes, SOURCE, TARGET)
    names = np.argwhere(edges.readers)
    found = {
        (SOURCE.readers[a], TARGET.readers[b]): edges.readers[a, b] for a, b in names
    }
    heads = {(f"a0.h1<{kind}>", f"a1.h3<{kind}>"): 0.5 for kind in "qkv"}
    assert found == {**heads, ("m1", "m2"): 1, ("logits", "logits"): 1}
    assert edges.reached().sum() == sum(
        u in ("input", "a1.h3", "m2")
        and (v.startswith("a1.h3") or v in ("m2", "logits"))
        for u, v in (each.split("->") for each in TARGET.edge_names())
    )


def test_a_shared_key_goes_where_its_heads_go_on_average():
    source = edge_graph(1, 4, 2, kv=KV_HEAD)
    target = edge_graph(1, 2, 1, kv=KV_HEAD)
    nodes = np.zeros((5, 3), np.float32)
    nodes[0] = [0.5, 0.25, 0]
    nodes[1] = [0.0, 0.75, 0]
    edges = lifted_map(nodes, source, target)
    row = source.readers.index("a0.h0<k>")
    # Heads 0 and 1 share it, and both heads of the target share theirs.
    assert edges.readers[row].tolist()[target.readers.index("a0.h0<k>")] == 0.75
    assert edges.readers[row].sum() == 0.75


def test_random_maps_are_normal_within_kinds():
    """Of many seeds together; nothing is mapped to what is of another kind."""
    drawn = [random_map(SOURCE, TARGET, seed) for seed in range(200)]
    for name, kinds in (("writers", writer_kinds), ("readers", reader_kinds)):
        allowed = blocks(SOURCE, TARGET, kinds)
        entries = np.stack([getattr(each, name) for each in drawn])
        assert not entries[:, ~allowed].any() and entries.dtype == np.float32
        own = entries[:, allowed]
        assert abs(own.mean()) < 0.05 and abs(own.std() - 1) < 0.05
        assert len(np.unique(own)) > 0.999 * own.size
    again = random_map(SOURCE, TARGET, 3)
    assert np.array_equal(again.writers, drawn[3].writers)
    assert np.array_equal(again.readers, drawn[3].readers)
