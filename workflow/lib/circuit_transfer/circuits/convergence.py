"""Whether integrated gradients have enough steps: how scores change with more of them.

Scores with different numbers of steps are compared by their ranks, by their largest
nodes and by value. That a method's score of the token embeddings equals the effect of
corrupting them, which it does with infinitely many steps (the completeness axiom of
arXiv 1703.01365), is a test against a known truth.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import node_ranks, spearman
from circuit_transfer.models.nodes import circuit_size

if TYPE_CHECKING:
    # For type checkers only: tables and figures need no torch.
    from circuit_transfer.circuits.attribution import Attribution

SCORES = {
    "steps": pl.Int64,
    "scores": pl.List(pl.Float32),
    "effect": pl.Float64,
    "effect_error": pl.Float64,
}
TOP, TOP_SHARE = (5, 10), 0.05
OVERLAPS = (*(f"top_{size}" for size in TOP), f"top_{TOP_SHARE:.0%}")
COMPARED = {"steps": pl.Int64, "more_steps": pl.Int64} | dict.fromkeys(
    (
        "spearman",
        *OVERLAPS,
        "largest_change",
        "effect_error",
        "effect_error_of_more",
    ),
    pl.Float64,
)


def scores_by_steps(results: Mapping[int, "Attribution"]) -> pl.DataFrame:
    """Return the mean scores with every number of steps, see `SCORES`.

    `effect_error` is the mean over examples of the distance between the score of the
    token embeddings and the effect, relative to the mean size of the effect; null for a
    method that does not score them.

    Args:
        results: by number of steps, of the same examples.
    """
    rows = [
        (
            steps,
            result.mean().tolist(),
            result.effect.double().mean().item(),
            _effect_error(result),
        )
        for steps, result in results.items()
    ]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


def no_scores(counts: Sequence[int]) -> pl.DataFrame:
    """Return rows of `SCORES` without values, of a model without usable pairs."""
    return pl.DataFrame([{"steps": steps} for steps in counts], schema=SCORES)


def compare_counts(scores: pl.DataFrame) -> pl.DataFrame:
    """Compare the scores with every two numbers of steps, see `COMPARED`.

    Args:
        scores: of one model, task and method, see `SCORES`.

    Returns:
        One row per two numbers: `spearman`, the correlation of the ranks of all nodes;
        the shares of the highest 5 nodes, 10 nodes and 5 % that both have in common,
        null where that is none or all of the nodes; `largest_change`, the largest
        change of a score relative to the largest score; and both errors of the effect.
    """
    rows = scores.sort("steps").rows(named=True)
    compared = [_compare(*pair) for pair in combinations(rows, 2)]
    frame = pl.DataFrame(compared, schema=COMPARED, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _effect_error(result: "Attribution") -> float | None:
    if result.input is None:
        return None
    effect = result.effect.double()
    distance = (result.input.double() - effect).abs().mean()
    return (distance / effect.abs().mean()).item()


def _compare(fewer: Mapping, more: Mapping) -> tuple:
    errors = fewer["effect_error"], more["effect_error"]
    if fewer["scores"] is None:
        values = (None,) * (len(COMPARED) - 4)
    else:
        left, right = (np.asarray(each["scores"], float) for each in (fewer, more))
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.abs(left - right).max() / np.abs(right).max()
        values = (spearman(left, right), *_overlaps(left, right), change)
    return (fewer["steps"], more["steps"], *values, *errors)


def _overlaps(left: np.ndarray, right: np.ndarray) -> Iterator[float | None]:
    """Yield the shares of the highest nodes in common, in the order of `OVERLAPS`."""
    ranks, others = node_ranks(left), node_ranks(right)
    for size in (*TOP, circuit_size(TOP_SHARE, len(left))):
        both = np.sum((ranks < size) & (others < size))
        yield float(both / size) if 0 < size < len(left) else None
