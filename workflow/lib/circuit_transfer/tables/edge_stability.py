"""How much circuits of edges depend on the examples, or on the seed of training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import bootstrap_jaccard, chance_jaccard
from circuit_transfer.tables.edge_curves import ABSOLUTE, LIFTED, SIGNED
from circuit_transfer.tables.method_measures import LEARNED, RESAMPLED
from circuit_transfer.tables.typesetting import Table

# Resamples are ranked one by one: of many edges, fewer are drawn.
ENTRIES, FEWEST, MOST = 2**26, 100, 500
RANKED = {SIGNED: lambda scores: scores, ABSOLUTE: np.abs}
NOTE = (
    "The attribution examples are drawn again with replacement, by distinct pairs of "
    "prompts. jaccard: mean overlap of the resulting circuit with that of all "
    "examples, which is edges in both as a share of those in either, in brackets the "
    "95 % interval over the draws; chance: that of two random circuits. Without "
    "numbers: the scores of single examples were not saved, which "
    "attribution.keep_examples decides, or all examples are one pair of prompts."
)
LEARNED_NOTE = (
    f"{LEARNED}: mean overlap of the circuits of every two seeds, in brackets the "
    "lowest and the highest; draws: how many pairs of seeds. "
    f"{LIFTED}: of scores of nodes, every edge with the lower score of the two nodes "
    "that it connects."
)
RESAMPLED_NOTE = (
    f"{RESAMPLED}: mean overlap of the circuit that is learned on training pairs drawn "
    "again, with the first seed, with that of all pairs, in brackets the lowest and "
    "the highest; draws: how many (pruning.resamples)."
)
SCHEMA = {
    "task": pl.String,
    "method": pl.String,
    "ranking": pl.String,
    "size": pl.String,
    "n_edges": pl.Int64,
    "jaccard": pl.Float64,
    "jaccard_low": pl.Float64,
    "jaccard_high": pl.Float64,
    "chance": pl.Float64,
    "draws": pl.Int64,
}


def resamples_of(n_edges: int) -> int:
    """Return how often the examples of so many edges are drawn."""
    return int(np.clip(ENTRIES // max(n_edges, 1), FEWEST, MOST))


def stability_rows(
    by_example: np.ndarray | None,
    proportions: Sequence[float],
    *,
    clusters: np.ndarray | None = None,
    rankings: Mapping[str, Callable[[np.ndarray], np.ndarray]] = RANKED,
    **labels: str,
) -> Iterator[dict[str, object]]:
    """Yield how stable the circuits of one method on one task are, by ranking and size.

    Args:
        by_example: scores `(examples, n_edges)`; None if they were not saved.
        proportions: the sizes; that of all edges is left out.
        clusters: the number of every example's pair of prompts.
        rankings: by name, what turns mean scores into those of the edges to rank.
        labels: `task` and `method`.
    """
    sizes = [each for each in proportions if each < 1]
    for ranking, ranked in rankings.items():
        row: dict[str, object] = labels | {"ranking": ranking}
        frame = pl.DataFrame()
        if by_example is not None and len(by_example):
            n_edges = len(ranked(by_example[0]))
            draws = resamples_of(n_edges)
            frame = bootstrap_jaccard(
                by_example, sizes, clusters=clusters, project=ranked, resamples=draws
            )
        if frame.is_empty():
            yield row
        for found in frame.iter_rows(named=True):
            yield row | {
                "size": f"{found['proportion']:g}",
                "n_edges": found["n_nodes"],
                "jaccard": found["jaccard"],
                "jaccard_low": found["low"],
                "jaccard_high": found["high"],
                "chance": chance_jaccard(found["n_nodes"], n_edges),
                "draws": draws,
            }


def seed_rows(
    circuits: Sequence[np.ndarray], sizes: Sequence[float], **labels: str
) -> Iterator[dict[str, object]]:
    """Yield how similar the circuits of the seeds of one method on one task are.

    Args:
        circuits: of every seed, bool `(sizes, n_edges)`.
        sizes: shares of the edges that the circuits were learned for.
        labels: `task` and `method`.
    """
    pairs = [*combinations(circuits, 2)]
    return _overlaps(circuits[0], pairs, sizes, labels | {"ranking": LEARNED})


def resample_rows(
    circuits: np.ndarray,
    resampled: Sequence[np.ndarray],
    sizes: Sequence[float],
    **labels: str,
) -> Iterator[dict[str, object]]:
    """Yield how similar circuits of resampled pairs are to those of all.

    Args:
        circuits: of all pairs, bool `(sizes, n_edges)`.
        resampled: of every resample.
        sizes: see `seed_rows`.
        labels: likewise.
    """
    pairs = [(circuits, each) for each in resampled]
    return _overlaps(circuits, pairs, sizes, labels | {"ranking": RESAMPLED})


def _overlaps(
    circuits: np.ndarray,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    sizes: Sequence[float],
    row: Mapping[str, object],
) -> Iterator[dict[str, object]]:
    """Yield the mean overlap of pairs of circuits of every size."""
    for place, size in enumerate(sizes):
        kept, n_edges = int(circuits[place].sum()), circuits.shape[1]
        shares = [_jaccard(left[place], right[place]) for left, right in pairs]
        known = (
            {
                "jaccard": float(np.mean(shares)),
                "jaccard_low": min(shares),
                "jaccard_high": max(shares),
            }
            if pairs
            else {}
        )
        of_size = {"size": f"{size:g}", "n_edges": kept, "draws": len(pairs)}
        yield {**row, **of_size, "chance": chance_jaccard(kept, n_edges), **known}


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Return what two circuits share; two empty ones are the same."""
    either = (left | right).sum()
    return float((left & right).sum() / either) if either else 1.0


def stability_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return the table of a model, a block for every task, method and ranking."""
    frame = pl.DataFrame(rows, schema=SCHEMA)
    notes = {LEARNED: LEARNED_NOTE, RESAMPLED: RESAMPLED_NOTE}
    shown = [text for name, text in notes.items() if name in frame["ranking"]]
    return Table(frame, labels=4, blocks=3, note=" ".join([NOTE, *shown]))
