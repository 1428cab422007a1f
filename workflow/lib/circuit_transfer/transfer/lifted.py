"""Rankings of edges by transferred scores of their nodes."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.maps import LIFTED
from circuit_transfer.transfer.projection import RANKING_SCHEMA
from circuit_transfer.transfer.training_sets import leaves_out

# The controls of a map that are lifted too: those that replace the source's scores.
OF_MAPS = ("none", "source-free", "random-source", "other-family")


def lifted_rankings(
    nodes: pl.DataFrame, graph: Graph, maps: Sequence[str], controls: Sequence[str]
) -> pl.DataFrame:
    """Return the rankings of edges that those of nodes give, see `edge_masks.lifted`.

    Args:
        nodes: rankings of the nodes, with the columns of `projected_rankings`.
        graph: the edges of the same model.
        maps: names of maps of edges; those of nodes among them have `LIFTED` before.
        controls: those that are wanted.

    Returns:
        Rows as those of `projected_rankings`, of the maps and controls that are wanted.
        Of training sets those that leave something out, as of all maps but the main
        one, which is never lifted.
    """
    wanted = ["none", *(each for each in OF_MAPS if each in controls)]
    sets = nodes["training_set"].drop_nulls().unique()
    chosen = nodes.with_columns(map=LIFTED + pl.col("map")).filter(
        pl.col("map").is_in(maps),
        pl.col("control").is_in(wanted),
        pl.col("training_set").is_in([*filter(leaves_out, sets)]),
    )
    scores = [np.array(row, np.float32) for row in chosen["scores"]]
    edges = [lifted(graph, row).tolist() for row in scores]
    of_edges = pl.Series("scores", edges, RANKING_SCHEMA["scores"])
    return chosen.with_columns(of_edges).select(*RANKING_SCHEMA)
