"""Uncertainty of the results: bootstrap over examples, paired tests, effect sizes.

Plain arithmetic on arrays. Two sources of variation are treated separately: the
examples that a circuit is evaluated on (`bootstrap_curves`), and the tasks and seeds
over which two circuits are compared (`compare`). Seeds of the same task are not
independent tasks, so every comparison is made twice: over tasks x seeds, and over the
means of the tasks.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

RESAMPLES = 2_000
# Up to this many cells all sign patterns are enumerated, above it they are sampled.
EXACT_CELLS = 14
SIGN_DRAWS = 20_000


@dataclass(frozen=True)
class Comparison:
    """A comparison of two circuits over tasks and seeds (first minus second).

    Attributes:
        mean_difference: mean over tasks of the mean over seeds.
        low: lower bound of its 95 % confidence interval (`cluster_draws`).
        high: upper bound of its 95 % confidence interval.
        d_z: mean divided by standard deviation of the differences over tasks x seeds.
        d_z_tasks: the same over the means of the tasks.
        p_permutation: p value of the sign-flip test over tasks x seeds.
        p_wilcoxon: p value of Wilcoxon's signed-rank test over tasks x seeds.
        p_tasks: p value of the sign-flip test over the means of the tasks; at least
            2 ** (1 - n_tasks).
        n_cells: number of tasks x seeds.
        n_tasks: number of tasks.
    """

    mean_difference: float
    low: float
    high: float
    d_z: float
    d_z_tasks: float
    p_permutation: float
    p_wilcoxon: float
    p_tasks: float
    n_cells: int
    n_tasks: int


def generator(*key: object) -> np.random.Generator:
    """Return a random generator seeded by a key, such as a seed and a task."""
    text = "/".join(map(str, key))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed)


def resampling_weights(
    clusters: np.ndarray, resamples: int, random: np.random.Generator
) -> np.ndarray:
    """Return the weight of every example in every resample, `(resamples, examples)`.

    Examples with the same prompts are not independent, so whole clusters are drawn with
    replacement, as many as there are; the weights of a resample sum to 1. One cluster
    says nothing about other prompts: its weights are NaN.

    Args:
        clusters: the number of every example's cluster, `(examples,)`, from 0.
        resamples: number of resamples.
        random: the generator of the draws.
    """
    n_clusters = len(np.unique(clusters))
    even = np.full(n_clusters, 1 / n_clusters)
    drawn = random.multinomial(n_clusters, even, size=resamples)
    # In the memory order of the draws: by an index it would be the other one, and sums
    # would differ in the last digit.
    weights = np.take(drawn, clusters, axis=1)
    if n_clusters == 1:
        return np.full(weights.shape, np.nan)
    return weights / weights.sum(1, keepdims=True)


def bootstrap_curves(
    logit_diffs: np.ndarray,
    empty: np.ndarray,
    full: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the faithfulness of every circuit at every size in every resample.

    Faithfulness is a ratio of means over examples, so the means are resampled before
    the division. All circuits share the same resamples, so their differences are
    paired.

    Args:
        logit_diffs: logit differences of the circuits, `(circuits, sizes, examples)`.
        empty: logit differences of the circuit without nodes, `(examples,)`.
        full: logit differences of the whole model, `(examples,)`.
        weights: `(resamples, examples)`, see `resampling_weights`.

    Returns:
        float64 `(circuits, sizes, resamples)`, NaN where full and empty are equal.

    Raises:
        ValueError: the numbers of examples differ.
    """
    examples = weights.shape[1]
    shapes = logit_diffs.shape[2:], empty.shape, full.shape
    if any(shape != (examples,) for shape in shapes):
        raise ValueError(
            f"number of examples: {shapes[0]} in logit_diffs, {shapes[1]} in empty, "
            f"{shapes[2]} in full, expected {examples} in each"
        )
    means = logit_diffs.astype(float) @ weights.T
    low, high = (weights @ end.astype(float) for end in (empty, full))
    span = np.where(high == low, np.nan, high - low)
    return (means - low) / span


def area_draws(
    curves: np.ndarray, proportions: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return CPR and CMD of curves `(..., sizes, resamples)`, each `(..., resamples)`.

    Areas under the curve and between the curve and 1, by the trapezoidal rule (MIB,
    arXiv 2504.13151).
    """
    sizes = np.asarray(proportions, dtype=float)
    cpr = np.trapezoid(curves, sizes, axis=-2)
    return cpr, np.trapezoid(np.abs(1 - curves), sizes, axis=-2)


def bootstrap_areas(
    logit_diffs: np.ndarray,
    empty: np.ndarray,
    full: np.ndarray,
    proportions: Sequence[float],
    *,
    clusters: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return CPR and CMD of circuits in every resample of the examples.

    Args:
        logit_diffs: logit differences of the circuits, `(circuits, sizes, examples)`.
        empty: logit differences of the circuit without nodes, `(examples,)`.
        full: logit differences of the whole model, `(examples,)`.
        proportions: circuit sizes as shares of all nodes, `(sizes,)`.
        clusters: see `resampling_weights`; by default every example is one.
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        CPR and CMD, each float64 `(circuits, resamples)`.
    """
    clusters = np.arange(len(full)) if clusters is None else clusters
    weights = resampling_weights(clusters, resamples, generator(seed))
    curves = bootstrap_curves(logit_diffs, empty, full, weights)
    return area_draws(curves, proportions)


def percentile_interval(
    draws: np.ndarray, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bound of the percentile interval over the last axis.

    NaN draws are ignored; where all draws are NaN, both bounds are NaN.
    """
    tail = (1 - level) / 2
    known = ~np.isnan(draws).all(axis=-1, keepdims=True)
    # NumPy warns about rows of NaN only, which are legitimate here.
    low, high = np.nanquantile(np.where(known, draws, 0.0), [tail, 1 - tail], axis=-1)
    known = known[..., 0]
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def wilson_interval(
    share: float, n: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a share of `n` independent cases, by Wilson's formula.

    Unlike a bootstrap it has a width where the share is 0 or 1 (Wilson, Probable
    inference, the law of succession, and statistical inference, 1927).
    """
    z2 = stats.norm.ppf((1 + level) / 2) ** 2
    centre = share + z2 / (2 * n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    scale = 1 + z2 / n
    low, high = (centre - half) / scale, (centre + half) / scale
    # A share of 0 or 1 is a bound itself, but for rounding.
    return float(max(min(low, share), 0.0)), float(min(max(high, share), 1.0))


def sign_flip_p(differences: np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p value of a mean difference by the sign-flip test.

    Under the null hypothesis that two circuits perform equally, the sign of each paired
    difference `(n,)` is random; the p value is the share of sign patterns whose mean is
    at least as far from 0 as the observed one. All patterns are enumerated up to
    `EXACT_CELLS` differences; above, `SIGN_DRAWS` are drawn, the observed one included.
    """
    sums = np.abs(_signs(len(differences), seed) @ differences)
    # Equal sums may differ by rounding, depending on the order of summation.
    reached = np.abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    return float(np.mean(sums >= reached))


@lru_cache(maxsize=8)
def _signs(n: int, seed: int) -> np.ndarray:
    """Return sign patterns `(patterns, n)`, including the one without a flip."""
    if n <= EXACT_CELLS:
        ones = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        ones = generator("signs", seed).integers(0, 2, (SIGN_DRAWS, n))
        ones[0] = 1
    return 2.0 * ones - 1


def wilcoxon_p(differences: np.ndarray) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test; 1 if all are zero.

    Differences of exactly 0 are dropped, as in Wilcoxon's original procedure. Exact,
    also with ties, up to `EXACT_CELLS` differences; above, as computed by SciPy.
    """
    differences = differences[differences != 0]
    if len(differences) > EXACT_CELLS:
        return float(stats.wilcoxon(differences).pvalue)
    # Flipping the signs of the ranks is the exact test, and it allows ties.
    ranks = stats.rankdata(np.abs(differences))
    return sign_flip_p(np.sign(differences) * ranks)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p values adjusted for multiple comparisons by Holm's procedure."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    remaining = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * remaining))
    return adjusted


def bootstrap_p(draws: np.ndarray) -> float:
    """Return the two-sided p value of a difference by its resamples; NaN without any.

    Twice the smaller share of resamples on either side of 0, at least 2 / (resamples +
    1) since the data themselves count as one (Davison and Hinkley 1997, section 4.4).

    Args:
        draws: the difference in every resample, `(resamples,)`; NaN is left out.
    """
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan")
    below, above = ((1 + np.sum(side)) for side in (known <= 0, known >= 0))
    return float(min(1.0, 2 * min(below, above) / (len(known) + 1)))


def t_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of independent values `(n,)`.

    NaN for fewer than two values.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1)
    half *= values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def cluster_draws(
    cells: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return means of a cluster bootstrap: over tasks, and over seeds within tasks.

    Args:
        cells: by task, one value per seed; all tasks have equal weight.
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        float64 `(resamples,)`.
    """
    picked, seeds = _clusters(tuple(map(len, cells)), resamples, seed)
    means = np.empty(picked.shape)
    for task, of_task in enumerate(cells):
        np.copyto(means, of_task[seeds[task]].mean(-1), where=picked == task)
    return means.mean(1)


@lru_cache(maxsize=8)
def _clusters(
    sizes: tuple[int, ...], resamples: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return drawn tasks `(resamples, tasks)` and, by task, seeds for each of them."""
    random = generator("clusters", seed)
    picked = random.integers(len(sizes), size=(resamples, len(sizes)))
    seeds = [random.integers(size, size=(*picked.shape, size)) for size in sizes]
    return picked, seeds


def paired_effect(differences: np.ndarray) -> float:
    """Return d_z: mean divided by standard deviation of paired differences `(n,)`.

    NaN for fewer than two differences, or if all are equal.
    """
    # Equal differences may differ by rounding.
    if len(differences) < 2 or np.ptp(differences) <= 1e-9 * np.abs(differences).max():
        return float("nan")
    return float(differences.mean() / differences.std(ddof=1))


def compare(cells: Sequence[np.ndarray], *, seed: int = 0) -> Comparison:
    """Test whether paired differences of two circuits differ from 0.

    Args:
        cells: by task, one difference per seed.
        seed: seed of the resamples and the random signs.

    Raises:
        ValueError: there is no task, or a task without a difference.
    """
    if not cells or any(len(of_task) == 0 for of_task in cells):
        raise ValueError("a comparison needs at least one difference per task")
    flat = np.concatenate(cells)
    means = np.array([of_task.mean() for of_task in cells])
    low, high = percentile_interval(cluster_draws(cells, seed=seed))
    return Comparison(
        mean_difference=float(means.mean()),
        low=float(low),
        high=float(high),
        d_z=paired_effect(flat),
        d_z_tasks=paired_effect(means),
        p_permutation=sign_flip_p(flat, seed=seed),
        p_wilcoxon=wilcoxon_p(flat),
        p_tasks=sign_flip_p(means, seed=seed),
        n_cells=len(flat),
        n_tasks=len(means),
    )
