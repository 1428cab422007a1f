"""Tables of the highest edges, against sorting and searching paths one by one."""

import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.models.edges import KV, edge_graph
from circuit_transfer.tables.circuit_edges import circuit_edges, highest
from circuit_transfer.tables.top_edges import top_edges_table

# Of few different values, so that many are equal.
FEW = arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([-2, -1, 0, 1]))


def scored(graph, flat, **others):
    matrix = graph.matrix(np.float32(flat))
    return EdgeScores(
        matrix, graph.legal, graph.writers, graph.readers, others, by_example=None
    )


def random_scores(graph, seed=0):
    """Return scores of which some are equal, in size or altogether."""
    generator = np.random.default_rng(seed)
    return generator.integers(-8, 9, graph.n_edges).astype(np.float32)


def ranked(graph, flat, key):
    """Return names and scores of all edges, the highest first."""
    edges = zip(graph.edge_names(), flat.tolist(), strict=True)
    return sorted(edges, key=lambda each: -key(each[1]))


def on_a_path(graph, edges):
    """Return the edges on a path from `input` to `logits`, found by walking all."""

    def heads_of(reader):
        """Yield the writers that are computed from a reader."""
        number = graph.readers.index(reader)
        yield from (graph.writers[u] for u in np.flatnonzero(graph.used_by[:, number]))

    found = set()

    def walk(writer, path):
        for edge in edges:
            start, reader = edge.split("->")
            if start != writer:
                continue
            if reader == "logits":
                found.update([*path, edge])
            for each in heads_of(reader):
                walk(each, [*path, edge])

    walk("input", [])
    return found


@given(FEW, st.integers(1, 50))
def test_the_highest_are_those_of_a_stable_sort(values, count):
    expected = np.argsort(-values, kind="stable")[:count]
    assert highest(values, count).tolist() == expected.tolist()


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("count", [1, 12, 40, 10**6])
def test_a_circuit_has_the_edges_of_a_sort_by_size(kv, count):
    graph = edge_graph(2, 4, 2, kv=kv)
    flat = random_scores(graph)
    table = circuit_edges(scored(graph, flat), graph, count)
    expected = ranked(graph, flat, abs)[:count]
    assert table.select("edge", "score").rows() == expected
    assert table["rank"].to_list() == list(range(1, len(expected) + 1))
    names = table.select(pl.concat_str("writer", pl.lit("->"), "reader"))
    assert names.to_series().to_list() == table["edge"].to_list()
    signs = [{1: "+", 0: "0", -1: "-"}[np.sign(score)] for _, score in expected]
    assert table["sign"].to_list() == signs
    assert table["low"].null_count() == table["high"].null_count() == len(table)
    edges = table["edge"].to_list()
    assert set(table.filter("effective")["edge"]) == on_a_path(graph, edges)


def test_some_edges_of_the_circuits_above_are_effective_and_some_are_not():
    graph = edge_graph(2, 4, 2)
    table = circuit_edges(scored(graph, random_scores(graph)), graph, 40)
    assert 0 < table["effective"].sum() < 40


def test_intervals_are_of_prompts_and_missing_of_a_single_one():
    graph = edge_graph(1, 2, 2)
    generator = np.random.default_rng(0)
    by_example = generator.normal(size=(4, graph.n_edges)).astype(np.float16)
    # Two copies of each prompt, which make nothing surer; two edges that never vary.
    by_example = by_example[[0, 0, 1, 1]]
    by_example[:, 3], by_example[:, 5] = 50, -100
    flat = by_example.mean(0, dtype=np.float32)
    found = {
        numbers: EdgeScores(
            graph.matrix(flat),
            graph.legal,
            graph.writers,
            graph.readers,
            {"prompt_numbers": list(numbers)},
            by_example,
        )
        for numbers in [(0, 0, 1, 1), (0, 0, 0, 0)]
    }
    table, unknown = (circuit_edges(each, graph, 30) for each in found.values())
    assert table.select("score", "low", "high").rows()[:2] == [(-100,) * 3, (50,) * 3]
    inside = (pl.col("low") <= pl.col("score")) & (pl.col("score") <= pl.col("high"))
    assert table.select(inside.all()).item()
    # Of two prompts a mean can be that of either one.
    for row in table.iter_rows(named=True):
        values = by_example[:, graph.edge_names().index(row["edge"])].tolist()
        assert (row["low"], row["high"]) == (min(values), max(values))
    assert unknown["low"].null_count() == graph.n_edges


def test_a_task_without_a_pair_has_no_circuit():
    graph = edge_graph(1, 2, 2)
    table = circuit_edges(scored(graph, np.full(graph.n_edges, np.nan)), graph, 5)
    assert table.is_empty() and table.schema["effective"] == pl.Boolean


@pytest.mark.parametrize("layers", [1, 2])
def test_top_edges_are_both_ends_of_the_ranking(layers):
    graph = edge_graph(layers, 1, 1)
    flat = random_scores(graph, seed=layers)
    none = scored(graph, np.full(graph.n_edges, np.nan))
    scores = {("a", "eap"): scored(graph, flat), ("b", "eap"): none}
    found = top_edges_table(scores, tasks=["b", "a"], methods=["eap"]).frame
    assert found.row(0) == ("b", "eap", *[None] * 6)
    order = [*enumerate(ranked(graph, flat, lambda score: score), start=1)]
    last = [(n, each) for n, each in order[10:][-5:] if each[1] < 0]
    rows = found.filter(task="a").select("rank", "edge", "score").rows()
    assert rows == [(n, *each) for n, each in order[:10] + last]
    assert graph.n_edges == {1: 8, 2: 23}[layers]


def test_millions_of_edges_are_never_single_objects():
    graph = edge_graph(32, 32, 8)
    flat = np.random.default_rng(0).normal(size=graph.n_edges)
    found = scored(graph, flat)
    tracemalloc.start()
    table = circuit_edges(found, graph, 30)
    top_edges_table({("a", "eap"): found}, tasks=["a"], methods=["eap"])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table["score"][0] == pytest.approx(flat[np.argmax(np.abs(flat))])
    # An object has 24 bytes at least, a pair of numbers over 100.
    assert most < 60 * graph.n_edges
