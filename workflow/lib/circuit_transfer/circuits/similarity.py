"""Similarity of two score vectors over the same nodes, and stability of circuits.

Two score vectors are compared by correlation, over all nodes, and by the overlap of
their circuits at every size. Stability is the same overlap between the circuits of one
vector and of those from resampled examples. Plain arithmetic; no model is needed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from scipy.stats import hypergeom, rankdata

from circuit_transfer.models.nodes import circuit_size

STABILITY_SCHEMA = {
    "proportion": pl.Float64,
    "n_nodes": pl.Int64,
    "jaccard": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
PERCENTILES = (2.5, 97.5)
RESAMPLES = 2000
# Entries of resampled scores, and columns of those of examples, that are in memory.
ENTRIES, COLUMNS = 2**23, 2**16


def pearson(left: np.ndarray, right: np.ndarray) -> float:
    """Return the linear correlation of two score vectors `(n_nodes,)`.

    NaN where one of them is constant or unknown (not finite).

    Raises:
        ValueError: the vectors are not equally long.
    """
    if left.shape != right.shape:
        raise ValueError(
            f"scores {left.shape} and {right.shape}: expected those of the same nodes"
        )
    known = np.isfinite(left).all() and np.isfinite(right).all()
    if not known or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def correlations(vectors: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return Pearson correlations `(n, n)`; NaN for missing or constant vectors."""
    result = np.full((len(vectors), len(vectors)), np.nan)
    varied = [
        index
        for index, vector in enumerate(vectors)
        if vector is not None and np.ptp(vector) > 0
    ]
    if varied:
        known = np.corrcoef([vectors[index] for index in varied])
        result[np.ix_(varied, varied)] = known
    return result


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Return the correlation of ranks `(n_nodes,)`; equal scores share a rank."""
    return pearson(rankdata(left), rankdata(right))


def node_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the rank of every node `(..., n_nodes)`, 0 for the highest score.

    Equal scores rank in the order of the nodes, as in `masks.circuit_masks`.
    """
    order = np.argsort(-scores, axis=-1, kind="stable")
    return np.argsort(order, axis=-1)


def shared_share(ranks: np.ndarray, others: np.ndarray, size: int) -> np.ndarray:
    """Return the Jaccard index `(...)` of the circuits of `size` nodes.

    Shared nodes over nodes in either, from the ranks `(..., n_nodes)` of all nodes.
    """
    shared = ((ranks < size) & (others < size)).sum(axis=-1)
    return shared / (2 * size - shared)


def chance_jaccard(size: int, n_nodes: int) -> float:
    """Return the mean Jaccard index of two random circuits of `size` nodes."""
    shared = np.arange(size + 1)
    chances = hypergeom(n_nodes, size, size).pmf(shared)
    return float(np.sum(chances * shared / (2 * size - shared)))


def circuit_sizes(n_nodes: int, proportions: Sequence[float]) -> dict[float, int]:
    """Return the number of nodes of every proportion that includes any."""
    sizes = {each: circuit_size(each, n_nodes) for each in proportions}
    return {each: size for each, size in sizes.items() if size}


def compare(
    left: np.ndarray, right: np.ndarray, proportions: Sequence[float]
) -> Iterator[tuple[str, float | None, float]]:
    """Yield measure, proportion and value of how similar two `(n_nodes,)` vectors are.

    `pearson` and `spearman` have no proportion, `jaccard` one per size with any node.
    Nothing is yielded for unknown scores (not finite).
    """
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return
    yield "pearson", None, pearson(left, right)
    yield "spearman", None, spearman(left, right)
    ranks, others = node_ranks(left), node_ranks(right)
    for proportion, size in circuit_sizes(len(left), proportions).items():
        yield "jaccard", proportion, float(shared_share(ranks, others, size))


def bootstrap_jaccard(
    by_example: np.ndarray,
    proportions: Sequence[float],
    *,
    clusters: np.ndarray | None = None,
    project: Callable[[np.ndarray], np.ndarray] = lambda scores: scores,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """Return how stable circuits are when attribution resamples its examples.

    Clusters of examples are drawn with replacement, as many as there are; the circuit
    of their mean scores is compared with that of all examples by the Jaccard index.

    Args:
        by_example: scores `(examples, n_nodes)` of a model's nodes.
        proportions: sizes of the circuits, as shares of all ranked nodes.
        clusters: the number of every example's pair of prompts, `(examples,)`; by
            default all are distinct.
        project: turns mean scores `(n_nodes,)` into those that are ranked, of the same
            nodes or of another model's.
        resamples: how often examples are drawn.
        seed: of the draws.

    Returns:
        One row per size with any node, see `STABILITY_SCHEMA`: the mean Jaccard index
        and its 95 % percentile interval. No rows without two distinct pairs of prompts.
    """
    if clusters is None:
        clusters = np.arange(len(by_example))
    if len(np.unique(clusters)) < 2:
        return pl.DataFrame(schema=STABILITY_SCHEMA)
    whole = node_ranks(project(by_example.mean(axis=0, dtype=float)))
    sizes = circuit_sizes(len(whole), proportions)
    if not sizes:
        return pl.DataFrame(schema=STABILITY_SCHEMA)
    shares = []
    for means in resampled_means(by_example, clusters, resamples=resamples, seed=seed):
        scores = np.stack([project(mean) for mean in means])
        # The ranks that the nodes of each resampled circuit have with all examples.
        ranks = whole[np.argsort(-scores, axis=-1, kind="stable")]
        shares.append([_overlap(ranks, size) for size in sizes.values()])
    rows = []
    of_sizes = zip(sizes.items(), np.concatenate(shares, axis=1), strict=True)
    for (proportion, size), of_size in of_sizes:
        interval = np.percentile(of_size, PERCENTILES)
        rows.append((proportion, size, of_size.mean(), *interval))
    return pl.DataFrame(rows, schema=STABILITY_SCHEMA, orient="row")


def _overlap(ranks: np.ndarray, size: int) -> np.ndarray:
    """Return the Jaccard index `(...)` of circuits of `size` nodes with another.

    Args:
        ranks: in the other ranking, of the nodes in the order of the circuits' ranking.
        size: number of nodes.
    """
    shared = (ranks[..., :size] < size).sum(axis=-1)
    return shared / (2 * size - shared)


def resampled_means(
    by_example: np.ndarray, clusters: np.ndarray, *, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield mean scores `(some resamples, n_nodes)` of clusters drawn with replacement.

    Few resamples and few nodes at a time are computed, so that memory stays small with
    millions of edges. The other arguments are as in `bootstrap_jaccard`.
    """
    n_clusters = len(np.unique(clusters))
    generator = np.random.default_rng(seed)
    # A mean needs only the number of times that each example is drawn.
    even = np.full(n_clusters, 1 / n_clusters)
    drawn = generator.multinomial(n_clusters, even, size=resamples)
    counts = np.take(drawn, clusters, axis=1)
    n_nodes = by_example.shape[1]
    at_once = max(1, ENTRIES // n_nodes)
    for first in range(0, resamples, at_once):
        some = counts[first : first + at_once]
        means = np.empty((len(some), n_nodes))
        for start in range(0, n_nodes, COLUMNS):
            part = slice(start, start + COLUMNS)
            means[:, part] = some @ by_example[:, part].astype(float)
        yield means / some.sum(1, keepdims=True)
