"""How much circuits of edges depend on the examples of their attribution."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import bootstrap_jaccard, chance_jaccard
from circuit_transfer.tables.edge_curves import ABSOLUTE, SIGNED
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
    **labels: str,
) -> Iterator[dict[str, object]]:
    """Yield how stable the circuits of one method on one task are, by ranking and size.

    Args:
        by_example: scores `(examples, n_edges)`; None if they were not saved.
        proportions: the sizes; that of all edges is left out.
        clusters: the number of every example's pair of prompts.
        labels: `task` and `method`.
    """
    sizes = [each for each in proportions if each < 1]
    for ranking, ranked in RANKED.items():
        row: dict[str, object] = labels | {"ranking": ranking}
        frame = pl.DataFrame()
        if by_example is not None and len(by_example):
            n_edges = by_example.shape[1]
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


def stability_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return the table of a model, a block for every task, method and ranking."""
    frame = pl.DataFrame(rows, schema=SCHEMA)
    return Table(frame, labels=4, blocks=3, note=NOTE)
