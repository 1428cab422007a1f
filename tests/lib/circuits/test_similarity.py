"""Likeness of scores against plain implementations, and resampling in closed form."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr

from circuit_transfer.circuits import similarity
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.similarity import (
    bootstrap_jaccard,
    chance_jaccard,
    circuit_sizes,
    compare,
    correlations,
    node_ranks,
    pearson,
    resampled_means,
    shared_share,
    spearman,
)
from circuit_transfer.transfer.correlation import (
    AFTER,
    CHANCE,
    DEPTH,
    GOLD,
    RANDOM,
    compare_projections,
)

FAMILIES = {"sums": ["a", "b"], "c": ["c"]}
PAIR = {"source": "small", "target": "large", "task": "a", "method": "nap"}


def random_scores(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def top(scores, size):
    """The nodes of a circuit, one by one."""
    ranked = sorted(range(len(scores)), key=lambda node: (-scores[node], node))
    return set(ranked[:size])


def jaccard(left, right):
    return len(left & right) / len(left | right)


@pytest.mark.parametrize("slope, expected", [(2.0, 1.0), (-0.5, -1.0)])
def test_pearson_of_a_straight_line(slope, expected):
    scores = random_scores(30)
    assert pearson(scores, slope * scores + 3) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("other", [np.ones(4), np.array([1.0, np.nan, 2.0, 3.0])])
def test_a_flat_or_unknown_vector_has_no_correlation(other):
    assert np.isnan(pearson(np.arange(4.0), other))
    assert np.isnan(pearson(other, np.arange(4.0)))


def test_correlations_of_every_two_vectors():
    vectors = [np.array([1.0, 2, 3]), np.array([3.0, 2, 1]), None, np.zeros(3)]
    result = correlations([*vectors, np.array([np.nan] * 3)])
    assert result[:2, :2] == pytest.approx(np.array([[1, -1], [-1, 1]]))
    assert np.isnan(result[2:]).all() and np.isnan(result[:, 2:]).all()


def test_vectors_of_other_nodes_are_refused():
    with pytest.raises(
        ValueError, match=r"scores \(3,\) and \(4,\): expected those of"
    ):
        pearson(np.arange(3.0), np.arange(4.0))


def test_spearman_shares_ranks_between_equal_scores():
    generator = np.random.default_rng(1)
    left, right = generator.integers(0, 6, (2, 40)).astype(float)
    assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def test_circuits_are_those_that_are_evaluated():
    scores = np.random.default_rng(2).integers(0, 5, (6, 20)).astype(np.float32)
    masks = circuit_masks(torch.from_numpy(scores), [0.1, 0.35, 0.8])
    for number, size in enumerate((2, 7, 16)):
        kept = node_ranks(scores) < size
        assert (kept == masks[:, number].bool().numpy()).all()


def test_shared_share_is_that_of_sets():
    left, right = random_scores(5, 12), random_scores(5, 12, seed=1)
    for size in range(1, 13):
        shares = shared_share(node_ranks(left), node_ranks(right), size)
        pairs = zip(left, right, strict=True)
        assert shares.tolist() == [
            jaccard(top(a, size), top(b, size)) for a, b in pairs
        ]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_chance_is_the_mean_over_all_circuits(size):
    one = set(range(size))
    values = [jaccard(one, set(other)) for other in combinations(range(7), size)]
    assert chance_jaccard(size, 7) == pytest.approx(np.mean(values))


def test_sizes_without_a_node_are_left_out():
    assert circuit_sizes(20, [0.01, 0.04, 0.1, 1.0]) == {0.1: 2, 1.0: 20}


def test_compare_has_every_measure_and_size():
    scores = random_scores(20)
    rows = list(compare(scores, np.exp(scores), [0.01, 0.1, 1.0]))
    assert [row[:2] for row in rows] == [
        ("pearson", None),
        ("spearman", None),
        ("jaccard", 0.1),
        ("jaccard", 1.0),
    ]
    assert [row[2] for row in rows[1:]] == pytest.approx([1.0, 1.0, 1.0])
    assert rows[0][2] < 0.99
    assert not list(compare(scores, np.full(20, np.nan), [0.1]))


@pytest.fixture
def gold():
    return random_scores(10)


@pytest.fixture
def projections(gold):
    """What is compared of task `a`, and rows that are not."""
    rows = [
        (None, None, "depth-heuristic", None, random_scores(10, seed=1)),
        (None, "free", "random-alignment", 0, random_scores(10, seed=2)),
        (None, "free", "random-alignment", 1, random_scores(10, seed=3)),
        ("only-a", "free", "none", 0, gold),
        ("only-a", "free", "none", 1, -gold),
        ("without-a", "free", "none", 0, random_scores(10, seed=4)),
        ("without-family-sums", "depth-prior", "none", None, 2 * gold),
        ("only-c", "free", "none", 0, gold),
        ("all", "free", "none", 0, gold),
        ("without-a", "free", "source-free", 0, gold),
        ("without-a", "free", "none", 1, np.full(10, np.nan)),
    ]
    names = ("training_set", "map", "control", "seed", "scores")
    frame = pl.DataFrame(
        [dict(zip(names, row, strict=True)) for row in rows],
        schema_overrides={"seed": pl.Int64, "scores": pl.List(pl.Float32)},
    )
    return frame.select(*(pl.lit(v).alias(k) for k, v in PAIR.items()), pl.all())


def compared(projections, gold):
    return compare_projections(projections, gold, [0.01, 0.2, 1.0], families=FAMILIES)


def test_every_two_vectors_are_compared(projections, gold):
    frame = compared(projections, gold).filter(measure="pearson")
    keys = ("left", "right", "map", "regime", "seed")
    assert set(frame.select(keys).rows()) == {
        (DEPTH, GOLD, None, None, None),
        *(
            (RANDOM, other, "free", None, seed)
            for other in (GOLD, DEPTH)
            for seed in (0, 1)
        ),
        *(
            (AFTER, other, "free", "in-distribution", seed)
            for other in (GOLD, DEPTH, RANDOM)
            for seed in (0, 1)
        ),
        *((AFTER, other, "free", "zero-shot", 0) for other in (GOLD, DEPTH, RANDOM)),
        *(
            (AFTER, other, "depth-prior", "zero-shot-family", None)
            for other in (GOLD, DEPTH)
        ),
    }
    assert frame.select(keys).is_unique().all()
    assert frame.select(*PAIR).unique().rows() == [tuple(PAIR.values())]


def test_what_equals_the_gold_scores_is_like_them(projections, gold):
    frame = compared(projections, gold).filter(left=AFTER, right=GOLD)
    values = frame.filter(regime="in-distribution", measure="pearson").sort("seed")
    assert values["value"].to_list() == pytest.approx([1, -1])
    family = frame.filter(regime="zero-shot-family")
    assert family["value"].to_list() == pytest.approx([1] * 4)
    assert family["training_set"].unique().to_list() == ["without-family-sums"]


def test_each_seed_is_compared_with_its_own_start(projections, gold):
    frame = compared(projections, gold).filter(
        left=AFTER, right=RANDOM, regime="in-distribution", measure="spearman"
    )
    for seed, sign in ((0, 1), (1, -1)):
        expected = sign * spearmanr(gold, random_scores(10, seed=2 + seed)).statistic
        assert frame.filter(seed=seed)["value"].item() == pytest.approx(expected)


def test_chance_stands_beside_the_circuits(projections, gold):
    rows = compared(projections, gold).filter(left=CHANCE)
    assert rows["proportion"].to_list() == [0.2, 1.0]
    assert rows["value"].to_list() == pytest.approx([chance_jaccard(2, 10), 1.0])


def test_a_flat_projection_has_a_null_correlation(projections, gold):
    flat = projections.filter(control="depth-heuristic").with_columns(
        scores=pl.lit([1.0] * 10)
    )
    rows = compared(flat, gold).filter(left=DEPTH)
    assert rows["value"].is_null().to_list() == [True, True, False, False]


@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_compared_with_nothing(projections, gold, known):
    empty = projections.clear() if known else projections
    frame = compared(empty, gold if known else np.full(10, np.nan))
    assert frame.is_empty() and "regime" in frame.columns


def all_means(*arguments, **settings):
    return np.concatenate([*resampled_means(*arguments, **settings)])


def test_resampled_means_are_of_whole_examples():
    means = all_means(6 * np.eye(6), np.arange(6), resamples=500, seed=0)
    counts = means.round(9)
    assert (counts == counts.astype(int)).all() and (counts.sum(axis=1) == 6).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(6), abs=0.2)
    assert counts.max() > 2


def test_resampling_two_examples_in_closed_form():
    # Drawn are both, the first twice, or the second twice: 1/2, 1/4, 1/4.
    by_example = np.array([[4.0, 0.0, 1.0], [0.0, 3.0, -1.0]])
    frame = bootstrap_jaccard(by_example, [0.01, 1 / 3, 2 / 3, 1.0], resamples=40_000)
    assert frame["n_nodes"].to_list() == [1, 2, 3]
    # One node: node 0 unless the second is drawn twice. Two: {0, 1}, or {0, 2} when
    # the first is drawn twice.
    expected = [3 / 4, 3 / 4 + 1 / 4 * 1 / 3, 1.0]
    assert frame["jaccard"].to_list() == pytest.approx(expected, abs=0.01)
    assert frame["low"].to_list() == pytest.approx([0, 1 / 3, 1])
    assert frame["high"].to_list() == pytest.approx([1, 1, 1])


def test_many_scores_are_resampled_in_parts(monkeypatch):
    by_example, sizes = random_scores(6, 50), [0.1, 0.5]
    whole = bootstrap_jaccard(by_example, sizes, resamples=40)
    monkeypatch.setattr(similarity, "ENTRIES", 350)
    monkeypatch.setattr(similarity, "COLUMNS", 7)
    parts = [len(each) for each in parts_of_means(by_example)]
    assert parts == [7, 7, 7, 7, 7, 5]
    assert bootstrap_jaccard(by_example, sizes, resamples=40).equals(whole)
    assert bootstrap_jaccard(by_example, [0.001], resamples=40).is_empty()


def parts_of_means(by_example):
    return resampled_means(by_example, np.arange(6), resamples=40, seed=0)


def test_the_interval_leaves_out_a_fortieth_on_each_side():
    # Node 1 leads only where the first example is drawn three times: 1 in 27.
    by_example = np.array([[0.0, 1.0], [3.0, 0.0], [3.0, 0.0]])
    frame = bootstrap_jaccard(by_example, [0.5], resamples=40_000)
    assert frame.select("low", "high").row(0) == (0, 1)
    assert frame["jaccard"].item() == pytest.approx(26 / 27, abs=0.005)
    # Of four examples, 1 in 256.
    rarer = np.array([[0.0, 1.0], *3 * [[4.0, 0.0]]])
    assert bootstrap_jaccard(rarer, [0.5])["low"].item() == 1


def test_copies_of_examples_are_not_resampled_apart():
    by_example = random_scores(9, 12)
    once = bootstrap_jaccard(by_example, [0.25, 0.5], resamples=300)
    clusters = np.tile(np.arange(9), 10)
    copied = bootstrap_jaccard(
        np.tile(by_example, (10, 1)), [0.25, 0.5], clusters=clusters, resamples=300
    )
    assert copied.equals(once)
    # One distinct prompt says nothing about others.
    alone = bootstrap_jaccard(by_example, [0.5], clusters=np.zeros(9, int))
    assert alone.is_empty()


def test_resampling_agrees_with_sets():
    by_example = random_scores(9, 12)
    frame = bootstrap_jaccard(by_example, [0.25, 0.5], resamples=300, seed=3)
    means = all_means(by_example, np.arange(9), resamples=300, seed=3)
    whole = by_example.mean(axis=0)
    for size, row in zip((3, 6), frame.iter_rows(named=True), strict=True):
        values = [jaccard(top(mean, size), top(whole, size)) for mean in means]
        assert row["jaccard"] == pytest.approx(np.mean(values))
        interval = np.quantile(values, [0.025, 0.975])
        assert [row["low"], row["high"]] == pytest.approx(interval)


def test_projecting_means_is_projecting_examples():
    by_example, matrix = random_scores(8, 5), random_scores(5, 14, seed=1)
    settings = {"proportions": [0.1, 0.3, 0.6], "resamples": 200}
    projected = bootstrap_jaccard(
        by_example, **settings, project=lambda scores: scores @ matrix
    )
    scaled = bootstrap_jaccard(
        by_example,
        **settings,
        project=lambda scores: scores / np.abs(scores).max() @ matrix,
    )
    direct = bootstrap_jaccard(by_example @ matrix, **settings)
    assert projected.equals(direct) and scaled.equals(direct)
    assert projected["jaccard"].min() < 0.9


def test_equal_examples_give_one_circuit():
    frame = bootstrap_jaccard(np.tile(random_scores(10), (5, 1)), [0.2, 0.5])
    assert (frame.select("jaccard", "low", "high").to_numpy() == 1).all()
    assert bootstrap_jaccard(np.empty((0, 10)), [0.2]).is_empty()
