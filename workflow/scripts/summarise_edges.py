"""Reduce all circuits of edges to their areas, intervals and tested differences."""

import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.edge_curves import (
    COLUMNS,
    NODE_COLUMNS,
    edge_areas,
    edge_curves,
    node_curves,
)
from circuit_transfer.tables.edge_statistics import (
    DOCUMENTATION,
    edge_statistics,
    unmeasured,
)

log = logging.getLogger(__name__)


def summarise_edges(
    edges_paths: Iterable[Path | str],
    random_paths: Iterable[Path | str],
    lifted_paths: Iterable[Path | str],
    nodes_paths: Iterable[Path | str],
    cpr_path: Path | str,
    statistics_path: Path | str,
    curves_path: Path | str,
) -> None:
    """Write the areas of circuits of edges, their statistics, and their mean curves.

    Args:
        edges_paths: circuits of edges and their random controls of equal effective
            size, measured, of every target, task and method that scores edges.
        random_paths: those of random rankings of the edges.
        lifted_paths: those that scores of nodes give, by method that scores nodes.
        nodes_paths: circuits of nodes, which they are compared with.
        cpr_path: where the areas go, a row for every circuit of edges.
        statistics_path: levels and differences, of circuits of nodes too.
        curves_path: curves with intervals.
    """
    files = [*edges_paths, *random_paths, *lifted_paths]
    edges = edge_curves(read_frame(path, COLUMNS) for path in files)
    nodes = node_curves(read_frame(path, NODE_COLUMNS) for path in nodes_paths)
    for place in unmeasured(edges):
        log.warning(
            "%s on %s: the whole model and the empty circuit do equally well, so "
            "faithfulness is undefined: empty cells",
            *place,
        )
    areas = edge_areas(edges)
    log.info("%d circuits of edges", areas.height)
    write_frame(areas, cpr_path)
    statistics, curves = edge_statistics(pl.concat([edges, nodes]))
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    write_frame(curves, curves_path)


if __name__ == "__main__":
    run_stage(summarise_edges, snakemake)
