"""Circuits of edges whose scores are transferred, beside those of nodes.

A method of edges is one more method in every frame, table and figure of transfers. Its
random rankings are those of edges, and its circuits count edges.
"""

from collections.abc import Iterable

import polars as pl

from circuit_transfer.circuits.methods import edge_methods
from circuit_transfer.tables.curves import RANDOM
from circuit_transfer.transfer.maps import LIFTED

# The method that random rankings of edges have; those of nodes have `RANDOM`.
RANDOM_EDGES = "random-edges"


def of_edges(frame: pl.DataFrame, ranking: str) -> pl.DataFrame:
    """Return the rows of a method's circuits of edges by one ranking, as of nodes.

    Controls belong to the edges alone, as the row of a circuit's own size does.

    Args:
        frame: measured circuits of edges, see `edge_curves`.
        ranking: `absolute` or `signed`.
    """
    found = frame.filter(control="none", ranking=ranking, own_size=False)
    return found.drop("control")


def of_random_edges(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of random circuits of edges, apart from those of nodes."""
    found = frame.filter(control=RANDOM).drop("control")
    return found.with_columns(method=pl.lit(RANDOM_EDGES))


def scored_by(method: str) -> str:
    """Return what a method gives a score: `nodes` or `edges`."""
    return "edges" if method in edge_methods() else "nodes"


def size_label(methods: Iterable[str]) -> str:
    """Return the label of an axis of sizes: what the methods give a score."""
    scored = dict.fromkeys(scored_by(each) for each in methods)
    return f"circuit size (share of {' or '.join(scored)})"


def random_method(method: str) -> str:
    """Return the method of the random rankings that a method is compared with."""
    return RANDOM_EDGES if scored_by(method) == "edges" else RANDOM


def members(frame: pl.DataFrame) -> pl.Series:
    """Return how many edges the circuits have, or of circuits of nodes how many nodes.

    Args:
        frame: with the columns `n_nodes` and `n_edges`.
    """
    return frame.select(pl.coalesce("n_edges", "n_nodes")).to_series()


def is_lifted(name: str | None) -> bool:
    """Return whether a map of edges is one of nodes that is lifted to edges."""
    return name is not None and name.startswith(LIFTED)
