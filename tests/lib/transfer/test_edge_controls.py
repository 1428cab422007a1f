"""What is left of edge scores by controls of edges, against what sums determine."""

import numpy as np
import pytest

from circuit_transfer.models.edges import KV_HEAD, edge_graph
from circuit_transfer.transfer.edge_controls import degree_preserving

GRAPH = edge_graph(3, 4, 2, kv=KV_HEAD)


def sums(scores, graph):
    matrix = graph.matrix(scores, outside=0)
    return np.concatenate([matrix.sum(0), matrix.sum(1)])


def drawn(seed, share=1.0):
    """Return scores of very different sizes, of a share of the edges."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=GRAPH.n_edges)
    scores *= np.exp(3 * generator.normal(size=GRAPH.n_edges))
    return scores * (generator.random(GRAPH.n_edges) < share)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_every_writer_and_reader_keeps_its_sums_of_each_sign(share):
    scores = drawn(0, share)
    found = degree_preserving(np.abs(scores), GRAPH)
    expected = sums(np.abs(scores), GRAPH)
    np.testing.assert_allclose(sums(found, GRAPH), expected, atol=1e-6 * expected.max())
    assert (found >= 0).all()
    signed = degree_preserving(scores, GRAPH)
    parts = [degree_preserving(np.maximum(sign * scores, 0), GRAPH) for sign in (1, -1)]
    np.testing.assert_array_equal(signed, parts[0] - parts[1])
    np.testing.assert_allclose(
        sums(signed, GRAPH), sums(scores, GRAPH), atol=1e-6 * expected.max()
    )


def test_it_is_found_where_most_scores_are_tiny():
    scores = np.abs(drawn(3))
    scores *= np.where(np.arange(len(scores)) % 9 == 0, 1, 1e-9)
    found = degree_preserving(scores, GRAPH)
    expected = sums(scores, GRAPH)
    np.testing.assert_allclose(sums(found, GRAPH), expected, atol=1e-8 * expected.max())


def test_an_outer_product_is_left_as_it_is():
    generator = np.random.default_rng(1)
    writers, readers = (
        generator.lognormal(size=len(each)) for each in (GRAPH.writers, GRAPH.readers)
    )
    scores = GRAPH.flat(np.outer(writers, readers))
    np.testing.assert_allclose(degree_preserving(scores, GRAPH), scores, rtol=1e-6)
    np.testing.assert_allclose(degree_preserving(-scores, GRAPH), -scores, rtol=1e-6)


def test_of_edges_that_the_sums_determine_nothing_changes():
    # The first layer can read the embeddings alone, and what they write is spent there.
    first, late = GRAPH.number("input->a0.h0<q>"), GRAPH.number("m2->logits")
    scores = np.zeros(GRAPH.n_edges, np.float32)
    scores[[first, late]] = 2, 3
    found = degree_preserving(scores, GRAPH)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores, atol=1e-6)


def test_it_has_the_largest_entropy_of_all_with_its_sums():
    scores = np.abs(drawn(2, 0.6))
    found = degree_preserving(scores, GRAPH)

    def entropy(values):
        shares = values[values > 0] / values.sum()
        return -(shares * np.log(shares)).sum()

    # The way to the scores, which have the same sums, only loses entropy.
    path = [entropy(found + t * (scores - found)) for t in (0, 0.01, 0.1, 0.5, 1)]
    assert path == sorted(path, reverse=True)
    assert path[0] - path[1] < 0.02 * (path[0] - path[-1])


def test_who_reads_whom_is_forgotten():
    # Two writers, two readers: crosswise or straight on, the sums are the same.
    names = [["a0.h0->a1.h0<q>", "a0.h1->a1.h1<q>"]]
    names.append(["a0.h0->a1.h1<q>", "a0.h1->a1.h0<q>"])
    found = []
    for pair in names:
        scores = np.zeros(GRAPH.n_edges)
        scores[[GRAPH.number(each) for each in pair]] = 1
        found.append(degree_preserving(scores, GRAPH))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    np.testing.assert_allclose(np.sort(found[0])[-4:], 0.5)


def test_unknown_scores_stay_unknown():
    scores = np.full(GRAPH.n_edges, np.nan, np.float32)
    assert np.isnan(degree_preserving(scores, GRAPH)).all()
