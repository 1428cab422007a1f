"""How sure is a number: bootstrap over examples, paired tests, effect sizes.

Plain arithmetic on arrays. Two kinds of spread are kept apart: that over the examples a
circuit was measured on (`bootstrap_curves`), and that over the tasks and seeds that two
circuits are compared on (`compare`). Seeds of one task are not further tasks, so every
comparison comes twice: over tasks x seeds, and over the tasks' means alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

RESAMPLES = 2_000
# Up to this many cells all patterns of signs are tried, above it some at random.
EXACT_CELLS = 14
SIGN_DRAWS = 20_000


@dataclass(frozen=True)
class Comparison:
    """Two circuits compared over tasks and seeds; differences are first minus second.

    Attributes:
        mean_difference: mean over tasks of the mean over seeds.
        low: lower end of its 95 % interval (`cluster_draws`).
        high: upper end of it.
        d_z: mean over standard deviation of the differences of tasks x seeds.
        d_z_tasks: the same of the tasks' means.
        p_permutation: sign flips over tasks x seeds.
        p_wilcoxon: signed ranks over tasks x seeds.
        p_tasks: sign flips over the tasks' means; never below 2 ** (1 - n_tasks).
        n_cells: how many tasks x seeds.
        n_tasks: how many tasks.
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
    """Return a random generator that belongs to a key, such as a seed and a task."""
    text = "/".join(map(str, key))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed)


def resampling_weights(
    examples: int, resamples: int, random: np.random.Generator
) -> np.ndarray:
    """Return the share of every example in every resample, `(resamples, examples)`.

    A resample draws as many examples as there are, with replacement.
    """
    even = np.full(examples, 1 / examples)
    return random.multinomial(examples, even, size=resamples) / examples


def bootstrap_curves(
    logit_diffs: np.ndarray,
    empty: np.ndarray,
    full: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the faithfulness of every circuit and size in every resample.

    Faithfulness is a ratio of means over examples, so the means are resampled and then
    divided. All circuits see the same resamples, so that their differences are paired.

    Args:
        logit_diffs: `(circuits, sizes, examples)`.
        empty: of the circuit without nodes, `(examples,)`.
        full: of the whole model, `(examples,)`.
        weights: `(resamples, examples)`, see `resampling_weights`.

    Returns:
        float64 `(circuits, sizes, resamples)`, NaN where full and empty are equal.

    Raises:
        ValueError: if the numbers of examples differ.
    """
    examples = weights.shape[1]
    shapes = logit_diffs.shape[2:], empty.shape, full.shape
    if any(shape != (examples,) for shape in shapes):
        raise ValueError(
            f"logit differences of {shapes[0]}, empty circuits of {shapes[1]} and full "
            f"ones of {shapes[2]} examples, expected {examples} each"
        )
    means = logit_diffs.astype(float) @ weights.T
    low, high = (weights @ end.astype(float) for end in (empty, full))
    span = np.where(high == low, np.nan, high - low)
    return (means - low) / span


def area_draws(
    curves: np.ndarray, proportions: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return CPR and CMD of curves `(..., sizes, resamples)`, each `(..., resamples)`.

    Trapezoid areas under the curve and between it and 1 (MIB, arXiv 2504.13151).
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return CPR and CMD of circuits in every resample of the examples.

    Args:
        logit_diffs: `(circuits, sizes, examples)`.
        empty: of the circuit without nodes, `(examples,)`.
        full: of the whole model, `(examples,)`.
        proportions: the sizes.
        resamples: how many.
        seed: of the resamples; the same seed gives the same resamples.

    Returns:
        Both float64 `(circuits, resamples)`.
    """
    weights = resampling_weights(len(full), resamples, generator(seed))
    curves = bootstrap_curves(logit_diffs, empty, full, weights)
    return area_draws(curves, proportions)


def percentile_interval(
    draws: np.ndarray, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the percentile interval over the last axis.

    Draws that are not known (NaN) are left out; without any, the ends are NaN.
    """
    tail = (1 - level) / 2
    known = ~np.isnan(draws).all(axis=-1, keepdims=True)
    # Numpy warns of rows without a number, which are ours to have.
    low, high = np.nanquantile(np.where(known, draws, 0.0), [tail, 1 - tail], axis=-1)
    known = known[..., 0]
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def sign_flip_p(differences: np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p value of a mean difference under random signs.

    If two circuits are alike, each paired difference `(n,)` could as well have the
    other sign. Exact up to `EXACT_CELLS` differences; above, that share of `SIGN_DRAWS`
    random patterns (and the observed one) whose mean is as far from 0.
    """
    sums = np.abs(_signs(len(differences), seed) @ differences)
    # Equal sums may differ in their last digits, for the order of the terms.
    reached = np.abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    return float(np.mean(sums >= reached))


@lru_cache(maxsize=8)
def _signs(n: int, seed: int) -> np.ndarray:
    """Return patterns of signs `(patterns, n)`, that without a change among them."""
    if n <= EXACT_CELLS:
        ones = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        ones = generator("signs", seed).integers(0, 2, (SIGN_DRAWS, n))
        ones[0] = 1
    return 2.0 * ones - 1


def wilcoxon_p(differences: np.ndarray) -> float:
    """Return the two-sided p value of Wilcoxon's signed ranks; 1 without a difference.

    Differences of exactly 0 are left out, as in Wilcoxon's own procedure. Exact, but
    for many differences of which some are equally large.
    """
    differences = differences[differences != 0]
    if len(differences) > EXACT_CELLS:
        return float(stats.wilcoxon(differences).pvalue)
    # Random signs of ranks are what the test is about; so ties are no trouble.
    ranks = stats.rankdata(np.abs(differences))
    return sign_flip_p(np.sign(differences) * ranks)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p values adjusted for their number by Holm's step-down procedure."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * left))
    return adjusted


def cluster_draws(
    cells: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return the mean of every resample of tasks, and of seeds within each of them.

    Args:
        cells: by task, one number per seed; tasks weigh the same.
        resamples: how many.
        seed: of the resamples.

    Returns:
        float64 `(resamples,)`.
    """
    random = generator("clusters", seed)
    n_tasks = len(cells)
    picked = random.integers(n_tasks, size=(resamples, n_tasks))
    means = np.empty(picked.shape)
    for task, of_task in enumerate(cells):
        shape = (*picked.shape, len(of_task))
        seeds = random.integers(len(of_task), size=shape)
        np.copyto(means, of_task[seeds].mean(-1), where=picked == task)
    return means.mean(1)


def paired_effect(differences: np.ndarray) -> float:
    """Return d_z, the mean over the standard deviation of paired differences `(n,)`.

    NaN with fewer than two differences, or where they are all the same.
    """
    # Equal differences may not be so in their last digits.
    if len(differences) < 2 or np.ptp(differences) <= 1e-9 * np.abs(differences).max():
        return float("nan")
    return float(differences.mean() / differences.std(ddof=1))


def compare(cells: Sequence[np.ndarray], *, seed: int = 0) -> Comparison:
    """Test whether paired differences of two circuits are other than 0.

    Args:
        cells: by task, the difference of every seed.
        seed: of resamples and random signs.

    Raises:
        ValueError: without a cell.
    """
    if not cells or any(len(of_task) == 0 for of_task in cells):
        raise ValueError("a comparison needs a difference for each of its tasks")
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
