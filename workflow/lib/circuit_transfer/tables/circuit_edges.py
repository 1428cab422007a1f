"""The edges of one circuit: those that rank highest, a row each."""

import numpy as np
import polars as pl

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import Graph
from circuit_transfer.tables.top_nodes import score_intervals
from circuit_transfer.tables.typesetting import Table

LINE = {
    **dict.fromkeys(("edge", "writer", "reader"), pl.String),
    **dict.fromkeys(("score", "low", "high"), pl.Float64),
    "sign": pl.String,
}
CIRCUIT = {"rank": pl.Int64, **LINE, "effective": pl.Boolean}
SIGNS = {1: "+", 0: "0", -1: "-"}
# Edges whose intervals are computed at once.
AT_ONCE = 4096


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the highest values in descending order, `(count,)`.

    Equal values are in the order of their numbers. Only the highest are sorted.

    Args:
        values: `(n,)`, not NaN.
        count: how many, at least 1; of fewer values, all.
    """
    count = min(count, len(values))
    least = np.partition(values, -count)[-count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    found = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    return found[np.argsort(-values[found], kind="stable")]


def circuit_edges(found: EdgeScores, graph: Graph, count: int) -> pl.DataFrame:
    """Return the edges that rank highest, see `CIRCUIT`.

    By absolute score: on some tasks the edges that reduce the effect of others are
    among those that matter most. Learned scores have no such sign, and rank as they
    are. `effective` says whether an edge
    is on a path from the input to the logits along these edges. Of a task without a
    usable pair there is no edge.

    Args:
        found: the scores, or learned circuits; of single examples, for there to be
            intervals.
        graph: the graph that they are of.
        count: how many edges; of a smaller graph, all.
    """
    scores = found.flat
    if np.isnan(scores).any():
        return pl.DataFrame(schema=CIRCUIT)
    numbers = highest(np.abs(scores) if found.is_signed else scores, count)
    kept = np.zeros(graph.n_edges, bool)
    kept[numbers] = True
    effective = effective_edges(graph, kept)[numbers]
    rank = np.arange(1, len(numbers) + 1)
    frame = edge_lines(found, numbers).with_columns(rank=rank, effective=effective)
    return frame.select(*CIRCUIT)


def edge_lines(found: EdgeScores, numbers: np.ndarray) -> pl.DataFrame:
    """Return the names, the score, its interval and its sign of edges, see `LINE`.

    Args:
        found: the scores.
        numbers: of the edges in order, `(n,)`.
    """
    readers, writers = (ends[numbers] for ends in np.nonzero(found.legal.T))
    scores = found.flat[numbers]
    parts = [
        numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)
    ]
    low, high = np.concatenate([score_intervals(found, each) for each in parts], axis=1)
    frame = pl.DataFrame(
        {
            "writer": pl.Series(found.writers)[writers],
            "reader": pl.Series(found.readers)[readers],
            "score": scores.astype(float),
            "low": low,
            "high": high,
            "sign": np.sign(scores).astype(int),
        }
    )
    signs = pl.col("sign").replace_strict(SIGNS, return_dtype=pl.String)
    return frame.with_columns(
        pl.col("low", "high").fill_nan(None),
        sign=signs if found.is_signed else pl.lit(None, pl.String),
        edge=pl.format("{}->{}", "writer", "reader"),
    ).select(*LINE)


def circuit_table(edges: pl.DataFrame) -> Table:
    """Return the edges of a circuit as a table."""
    return Table(edges, labels=4)
