import numpy as np
import pytest

from circuit_transfer.models.edges import edge_graph
from circuit_transfer.models.nodes import node_names

# Layers, heads and key-value heads, and the edges of MIB's graphs.
PUBLISHED = {
    "GPT-2 small": (12, 12, 12, 32_491),
    "Qwen2.5-0.5B": (24, 14, 2, 179_749),
    "Llama-3.1-8B": (32, 32, 8, 1_592_881),
}
# The same with the edges when keys and values are shared.
EMBEDDED = {
    "small": (4, 4, 2, 479, 343),
    "medium": (6, 8, 4, 3_628, 2_500),
    "large": (8, 8, 4, 6_637, 4_557),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_are_the_published_ones(name):
    *sizes, expected = PUBLISHED[name]
    graph = edge_graph(*sizes)
    assert graph.n_edges == expected == graph.legal.sum()


@pytest.mark.parametrize("name", EMBEDDED)
def test_shared_keys_and_values_are_fewer_readers(name):
    *sizes, by_query, by_key = EMBEDDED[name]
    assert edge_graph(*sizes).n_edges == by_query
    assert edge_graph(*sizes, kv="kv-head").n_edges == by_key


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
def test_a_writer_is_read_by_what_is_computed_later(kv, parallel):
    graph = edge_graph(3, 4, 2, kv=kv, parallel_mlp=parallel)

    def step(name):
        """Return when a node reads and when it writes, within a sequential order."""
        if name in ("input", "logits"):
            return (-1, -1) if name == "input" else (99, 99)
        layer = int(name.split(".")[0][1:])
        late = name.startswith("m") and not parallel
        return (2 * layer + late, 2 * layer + 1 + late)

    for u, writer in enumerate(graph.writers):
        for v, reader in enumerate(graph.readers):
            expected = step(writer)[1] <= step(reader.split("<")[0])[0]
            assert graph.legal[u, v] == expected, (writer, reader)


def test_names_and_order_are_those_of_mib():
    graph = edge_graph(1, 2, 1)
    assert graph.writers == ("input", "a0.h0", "a0.h1", "m0")
    names = ["q", "q", "k", "k", "v", "v"]
    heads = [f"a0.h{n % 2}<{kind}>" for n, kind in enumerate(names)]
    assert graph.readers == (*heads, "m0", "logits")
    edges = [f"input->{reader}" for reader in heads]
    edges += ["input->m0", "a0.h0->m0", "a0.h1->m0"]
    edges += [f"{writer}->logits" for writer in graph.writers]
    assert graph.edge_names() == edges


def test_readers_of_shared_keys_are_numbered_by_the_keys():
    readers = edge_graph(1, 4, 2, kv="kv-head").readers
    assert readers[4:8] == ("a0.h0<k>", "a0.h1<k>", "a0.h0<v>", "a0.h1<v>")


@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
def test_places_are_those_of_the_names(kv):
    graph = edge_graph(3, 4, 2, kv=kv)
    for layer in range(3):
        for kind in "qkv":
            names = [graph.readers[n] for n in graph.attention_readers(layer, kind)]
            count = 4 if kind == "q" or kv == "query-head" else 2
            assert names == [f"a{layer}.h{n}<{kind}>" for n in range(count)]
        assert graph.readers[graph.mlp_reader(layer)] == f"m{layer}"
        assert graph.writers[graph.mlp_writer(layer)] == f"m{layer}"
        heads = [graph.writers[n] for n in graph.head_writers(layer)]
        assert heads == [f"a{layer}.h{n}" for n in range(4)]
    assert graph.writers[1:] == node_names(3, 4)


def test_a_head_is_computed_from_the_key_that_its_group_shares():
    graph = edge_graph(2, 4, 2, kv="kv-head")

    def used(writer):
        row = graph.used_by[graph.writers.index(writer)]
        return [name for name, use in zip(graph.readers, row, strict=True) if use]

    assert used("a1.h3") == ["a1.h3<q>", "a1.h1<k>", "a1.h1<v>"]
    assert used("m1") == ["m1"]
    assert used("input") == []


def test_values_of_edges_and_matrices_belong_together():
    graph = edge_graph(2, 2, 1)
    values = np.arange(2 * graph.n_edges, dtype=np.float32).reshape(2, -1)
    matrix = graph.matrix(values)
    assert matrix.dtype == np.float32
    assert (np.isfinite(matrix) == graph.legal).all()
    assert (graph.flat(matrix) == values).all()
    named = dict(zip(graph.edge_names(), values[1], strict=True))
    writer, reader = graph.writers.index("m0"), graph.readers.index("a1.h1<v>")
    assert matrix[1, writer, reader] == named["m0->a1.h1<v>"]


def test_another_convention_is_refused():
    with pytest.raises(ValueError, match="kv heads: expected query-head or kv-head"):
        edge_graph(1, 2, 1, kv="heads")
