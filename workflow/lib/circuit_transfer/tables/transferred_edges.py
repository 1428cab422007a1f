"""The edges of a source's circuit, and of gold and transferred ones of the target."""

from dataclasses import replace

import numpy as np
import polars as pl

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.models.edges import Graph
from circuit_transfer.tables.circuit_edges import CIRCUIT, circuit_edges
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.typesetting import Table

# The circuits that have an edge.
SOURCE, GOLD, TRANSFERRED, BOTH = "source", "gold", "transferred", "gold, transferred"
CIRCUITS = (SOURCE, GOLD, TRANSFERRED)
COLUMNS = ("rank", "edge", "writer", "reader", "score", "effective")
SCHEMA = {"circuit": pl.String, "circuits": pl.String}
SCHEMA |= {name: CIRCUIT[name] for name in COLUMNS}


def transferred_edges(
    source: tuple[EdgeScores, Graph],
    target: tuple[EdgeScores, Graph],
    projected: np.ndarray,
    *,
    ranking: str,
    count: int,
) -> pl.DataFrame:
    """Return the highest edges of three circuits, see `SCHEMA`.

    Args:
        source: the scores of the source model, and its edges.
        target: those of the target.
        projected: scores `(n_edges,)` of the target that a map has made of the
            source's; empty if it has made none.
        ranking: of the scores of both models: `absolute` or `signed`.
        count: how many edges of each.

    Returns:
        `circuit`: `source`, `gold` or `transferred`; `circuits`: those of the target
        that have the edge. `score` is the one that the edge is ranked by.
    """
    gold, graph = target
    unknown = np.full(graph.n_edges, np.nan, np.float32)
    scores = projected if len(projected) else unknown
    transferred = replace(gold, scores=graph.matrix(scores), by_example=None)
    ranked = {
        SOURCE: (_ranked(source[0], ranking), source[1]),
        GOLD: (_ranked(gold, ranking), graph),
        # A map's scores rank as they are.
        TRANSFERRED: (_ranked(transferred, ""), graph),
    }
    frames = {
        circuit: circuit_edges(*each, count).select(
            pl.lit(circuit).alias("circuit"), *COLUMNS
        )
        for circuit, each in ranked.items()
    }
    both = {*frames[GOLD]["edge"]} & {*frames[TRANSFERRED]["edge"]}
    shared = (pl.col("circuit") != SOURCE) & pl.col("edge").is_in(both)
    circuits = pl.when(shared).then(pl.lit(BOTH)).otherwise("circuit")
    found = pl.concat(frames.values()).with_columns(circuits=circuits)
    return found.select(*SCHEMA)


def _ranked(found: EdgeScores, ranking: str) -> EdgeScores:
    """Return the scores that a circuit takes the highest of, as if they had no sign."""
    scores = np.abs(found.scores) if ranking == ABSOLUTE else found.scores
    metadata = found.metadata | {"seed": None}
    return replace(found, scores=scores, by_example=None, metadata=metadata)


def transferred_table(edges: pl.DataFrame) -> Table:
    """Return these edges as a table."""
    return Table(edges, labels=2)
