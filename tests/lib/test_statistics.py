"""Intervals and tests against closed forms, slow plain loops and known coverage."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from circuit_transfer import statistics
from circuit_transfer.tables import curve_areas

SIZES = [0.001, 0.01, 0.1, 0.5, 1.0]


@pytest.fixture(scope="module")
def measured():
    """Logit differences of 3 circuits, 5 sizes, 12 examples; empty and full."""
    random = np.random.default_rng(0)
    empty = random.normal(0, 0.3, 12).astype(np.float32)
    full = random.normal(3, 1, 12).astype(np.float32)
    shares = np.sort(random.random((3, 5, 1)), axis=1)
    circuits = empty + shares * (full - empty) + random.normal(0, 0.5, (3, 5, 12))
    return circuits.astype(np.float32), empty, full


def _areas(circuits, empty, full):
    low, high = empty.mean(), full.mean()
    curves = [[(size.mean() - low) / (high - low) for size in c] for c in circuits]
    return np.array([curve_areas(SIZES, curve) for curve in curves])


def test_every_resample_is_the_area_of_the_examples_it_drew(measured):
    circuits, empty, full = (each.astype(float) for each in measured)
    cpr, cmd = statistics.bootstrap_areas(*measured, SIZES, resamples=20, seed=3)
    weights = statistics.resampling_weights(np.arange(12), 20, statistics.generator(3))
    for draw, shares in enumerate(weights):
        drawn = np.repeat(np.arange(12), np.rint(shares * 12).astype(int))
        expected = _areas(circuits[..., drawn], empty[drawn], full[drawn])
        assert cpr[:, draw] == pytest.approx(expected[:, 0])
        assert cmd[:, draw] == pytest.approx(expected[:, 1])


def test_identical_examples_have_intervals_of_zero_width(measured):
    circuits, empty, full = (np.repeat(each[..., :1], 12, -1) for each in measured)
    draws, _ = statistics.bootstrap_areas(circuits, empty, full, SIZES, resamples=50)
    low, high = statistics.percentile_interval(draws)
    assert low == pytest.approx(high)
    assert low == pytest.approx(_areas(circuits, empty, full)[:, 0], rel=1e-6)


@pytest.mark.parametrize(("share", "n"), [(0, 7), (0.3, 10), (0.5, 2), (1, 30)])
def test_wilson_bounds_are_as_far_from_the_share_as_chance_takes_them(share, n):
    low, high = statistics.wilson_interval(share, n)
    assert low <= share <= high
    assert low < high
    for bound in (low, high):
        deviation = np.sqrt(bound * (1 - bound) / n)
        assert abs(share - bound) == pytest.approx(1.959964 * deviation, abs=1e-6)


def test_wilson_bounds_are_shares():
    for n in range(1, 200):
        low, high = statistics.wilson_interval(0, n)
        assert low == 0 and high < 1
        low, high = statistics.wilson_interval(1, n)
        assert low > 0 and high == 1


def test_copies_of_rows_change_no_resample(measured):
    once = statistics.bootstrap_areas(*measured, SIZES, resamples=50)
    tenfold = (np.tile(each, 10) for each in measured)
    clusters = np.tile(np.arange(12), 10)
    copied = statistics.bootstrap_areas(
        *tenfold, SIZES, clusters=clusters, resamples=50
    )
    for draws, expected in zip(copied, once, strict=True):
        np.testing.assert_allclose(draws, expected, rtol=1e-9)


def test_distinct_rows_have_the_very_draws_of_a_plain_bootstrap(measured):
    circuits, empty, full = measured
    random = statistics.generator(0)
    plain = random.multinomial(12, np.full(12, 1 / 12), size=500) / 12
    found = statistics.resampling_weights(np.arange(12), 500, statistics.generator(0))
    # Bit by bit, in sums as well: those depend on the order in memory.
    assert np.array_equal(found, plain)
    curves = [
        statistics.bootstrap_curves(circuits, empty, full, weights)
        for weights in (found, plain)
    ]
    assert np.array_equal(*curves)


def test_one_distinct_prompt_has_no_interval(measured):
    draws, _ = statistics.bootstrap_areas(
        *measured, SIZES, clusters=np.zeros(12, int), resamples=9
    )
    assert np.isnan(statistics.percentile_interval(draws)).all()


def test_clusters_of_unequal_size_weigh_as_many_examples_as_they_have():
    clusters = np.array([0, 1, 1, 1, 2])
    random = statistics.generator(0)
    for shares in statistics.resampling_weights(clusters, 200, random):
        assert shares.sum() == pytest.approx(1)
        assert shares[1] == shares[2] == shares[3]
        # Three clusters are drawn: their counts give all weights.
        counts = shares[[0, 1, 4]]
        (unit,) = {round(c, 12) for c in (counts @ [1, 3, 1],)}
        assert unit == 1
        total = 3 / counts.sum()
        drawn = counts * total
        assert np.allclose(drawn, drawn.round(), atol=1e-9)


def test_intervals_over_clusters_cover_where_those_over_rows_do_not():
    random = np.random.default_rng(2)
    clusters = np.repeat(np.arange(20), 5)
    covered = {"clusters": 0, "rows": 0}
    for _ in range(200):
        sample = random.normal(size=20)[clusters] + 0.1 * random.normal(size=100)
        for name, numbers in (("clusters", clusters), ("rows", np.arange(100))):
            weights = statistics.resampling_weights(numbers, 400, random)
            low, high = statistics.percentile_interval(weights @ sample)
            covered[name] += low <= 0 <= high
    assert covered["clusters"] / 200 > 0.88
    assert covered["rows"] / 200 < 0.75


def test_circuits_share_their_resamples(measured):
    circuits, empty, full = measured
    both = np.stack([circuits[0], circuits[0] + 0.5 * (full - empty)])
    (first, second), _ = statistics.bootstrap_areas(both, empty, full, SIZES)
    # Half the way to the full circuit at every size is half the width, in each draw.
    assert second - first == pytest.approx(np.full(2000, 0.5 * 0.999))


def test_where_corruption_changes_nothing_there_is_no_interval(measured):
    circuits, _, full = measured
    draws, _ = statistics.bootstrap_areas(circuits, full, full, SIZES, resamples=9)
    assert np.isnan(statistics.percentile_interval(draws)).all()


def test_unequal_numbers_of_examples_are_refused(measured):
    circuits, empty, full = measured
    with pytest.raises(ValueError, match=r"\(12,\).*\(11,\).*expected 12"):
        statistics.bootstrap_areas(circuits, empty[1:], full, SIZES)


def test_intervals_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        sample = random.normal(size=60)
        weights = statistics.resampling_weights(np.arange(60), 500, random)
        low, high = statistics.percentile_interval(weights @ sample)
        covered.append(low < 0 < high)
    # 95 % of 200, within four standard deviations.
    assert 0.88 < np.mean(covered) < 1.0


def test_percentiles_ignore_unknown_draws():
    draws = np.array([np.nan, *np.arange(101.0)])
    interval = statistics.percentile_interval(draws, level=0.9)
    assert interval == pytest.approx((5.0, 95.0))


def test_few_sign_flips_are_enumerated():
    differences = np.array([0.3, -0.1, 0.25, 0.2, 0.05])
    flipped = [np.mean(np.multiply(differences, s)) for s in product([-1, 1], repeat=5)]
    expected = np.mean(np.abs(flipped) >= differences.mean() - 1e-12)
    assert statistics.sign_flip_p(differences) == expected
    # Six that agree: only all plus and all minus are as far from 0.
    assert statistics.sign_flip_p(np.arange(1.0, 7.0)) == 2 / 64
    assert statistics.sign_flip_p(np.zeros(4)) == 1.0


def test_sampled_signs_approximate_all_signs(monkeypatch):
    differences = np.random.default_rng(2).normal(0.4, 1, 14)
    exact = statistics.sign_flip_p(differences)
    monkeypatch.setattr(statistics, "EXACT_CELLS", 0)
    statistics._signs.cache_clear()
    drawn = [statistics.sign_flip_p(differences, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn == pytest.approx([exact] * 3, abs=4 * np.sqrt(exact / 20_000))
    # The observed signs are one of the patterns, so p is never 0.
    assert statistics.sign_flip_p(np.ones(40)) == pytest.approx(1 / 20_000)
    statistics._signs.cache_clear()


def test_p_values_under_the_null_hypothesis_are_uniform():
    random = np.random.default_rng(3)
    samples = [random.normal(size=10) for _ in range(300)]
    for test in (statistics.sign_flip_p, statistics.wilcoxon_p):
        below = np.mean([test(sample) < 0.2 for sample in samples])
        assert below == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 300))


def test_wilcoxon_has_its_exact_value():
    # All of six agree: 2 of 64 orders of signs.
    assert statistics.wilcoxon_p(np.arange(1.0, 7.0)) == pytest.approx(2 / 64)
    assert statistics.wilcoxon_p(np.array([0.0, 1, 2, 3])) == pytest.approx(2 / 8)
    assert statistics.wilcoxon_p(np.zeros(3)) == 1.0
    for n in (9, 30):
        sample = np.random.default_rng(n).normal(0.3, 1, n)
        expected = stats.wilcoxon(sample, method="exact").pvalue
        assert statistics.wilcoxon_p(sample) == pytest.approx(expected)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1, and never falling.
    adjusted = statistics.holm([0.03, 0.01, 0.04, 0.02])
    assert adjusted == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert statistics.holm([]).tolist() == []
    assert statistics.holm([0.02]).tolist() == [0.02]


def test_clusters_vary_as_tasks_and_seeds_do():
    random = np.random.default_rng(4)
    cells = [mean + random.normal(0, 0.5, 4) for mean in (0.0, 1.0, 3.0)]
    draws = statistics.cluster_draws(cells, resamples=40_000)
    means = np.array([of_task.mean() for of_task in cells])
    assert draws.mean() == pytest.approx(means.mean(), abs=0.02)
    # Variance between the tasks, and of the seeds' means within one, per task.
    within = np.mean([of_task.var() / 4 for of_task in cells])
    assert draws.var() == pytest.approx((means.var() + within) / 3, rel=0.03)


def test_clusters_may_have_different_numbers_of_seeds():
    cells = [np.array([1.0, 1.0, 1.0]), np.array([3.0])]
    draws = statistics.cluster_draws(cells, resamples=2000)
    assert set(draws) == {1.0, 2.0, 3.0}
    assert np.mean(draws == 2) == pytest.approx(0.5, abs=0.05)


def test_a_comparison_has_the_results_of_its_tests():
    cells = [np.array([0.1, 0.2]), np.array([0.3, 0.5]), np.array([-0.1, 0.1])]
    found = statistics.compare(cells)
    flat = np.concatenate(cells)
    assert found.mean_difference == pytest.approx(np.mean([0.15, 0.4, 0.0]))
    assert (found.n_cells, found.n_tasks) == (6, 3)
    assert found.d_z == pytest.approx(stats.ttest_1samp(flat, 0).statistic / 6**0.5)
    tasks = stats.ttest_1samp([0.15, 0.4, 0.0], 0).statistic
    assert found.d_z_tasks == pytest.approx(tasks / 3**0.5)
    # Two of three tasks are above 0 and one is 0: four of eight patterns.
    assert found.p_tasks == 0.5
    assert found.p_permutation == statistics.sign_flip_p(flat)
    assert found.p_wilcoxon == statistics.wilcoxon_p(flat)
    assert found.low < found.mean_difference < found.high


def test_seeds_do_not_count_as_tasks():
    # Five seeds of two tasks that agree in all: many cells, and still two tasks.
    found = statistics.compare([np.full(5, 0.2), np.full(5, 0.3)])
    assert found.p_permutation < 0.01 and found.p_tasks == 0.5


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one difference per task"):
        statistics.compare([])
    assert np.isnan(statistics.paired_effect(np.full(3, 0.2)))
