"""Circuits of edges of every size, by rankings; beside the main map's, random ones."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.circuits.edge_controls import GROWN, grown_circuits
from circuit_transfer.circuits.edge_masks import edge_circuits, effective_edges
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.edge_controls import RANDOM_EFFECTIVE
from circuit_transfer.transfer.training_sets import leaves_out


def ranked_circuits(
    graph: Graph,
    rankings: pl.DataFrame,
    proportions: Sequence[float],
    main: str,
    controls: Sequence[str],
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the circuits of every ranking whose scores are known.

    With those of the main map, zero-shot and of the first seed, there are random ones
    with as many effective edges, if these are wanted.

    Args:
        graph: the edges.
        rankings: as of `projection.projected_rankings`, with any further labels.
        proportions: the sizes, as shares of the edges.
        main: the main map.
        controls: those that are wanted.

    Returns:
        One row of labels per circuit, with its `proportion`, and the circuits, bool
        `(circuits, n_edges)`.
    """
    finite = pl.col("scores").list.eval(pl.element().is_finite()).list.all()
    known = rankings.filter(finite)
    scores = np.array(known["scores"].to_list(), np.float32)
    circuits = edge_circuits(scores.reshape(-1, graph.n_edges), proportions)
    labels, masks = [known.drop("scores")], [circuits]
    if RANDOM_EFFECTIVE in controls:
        compared = _first_seeds(known, main)
        effective = effective_edges(graph, circuits[compared["row"].to_numpy()]).sum(-1)
        for seed in GROWN:
            grown = grown_circuits(graph, effective.ravel(), seed)
            masks.append(grown.reshape(len(compared), len(proportions), graph.n_edges))
            own = compared.select(known.drop("scores").columns).with_columns(
                control=pl.lit(RANDOM_EFFECTIVE),
                seed=pl.lit(seed, pl.Int64),
                collapsed=pl.lit(None, pl.Boolean),
            )
            labels.append(own)
    sizes = pl.DataFrame({"proportion": pl.Series([*proportions], dtype=pl.Float64)})
    every = pl.concat(labels).join(sizes, how="cross", maintain_order="left_right")
    return every, np.concatenate(masks).reshape(-1, graph.n_edges)


def _first_seeds(rankings: pl.DataFrame, main: str) -> pl.DataFrame:
    """Return the main map's zero-shot rankings of the first seeds, with their numbers.

    As other controls, random circuits are of the protocols that leave something out.
    """
    own = rankings.with_row_index("row").filter(map=main, control="none")
    sets = own["training_set"].unique()
    own = own.filter(pl.col("training_set").is_in([*filter(leaves_out, sets)]))
    return own.sort("seed", maintain_order=True).unique(
        "training_set", keep="first", maintain_order=True
    )
