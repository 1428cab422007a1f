"""Tabulate and draw which heads the circuits of a model still use."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.tables.head_survival import (
    HEADS,
    survival_frame,
    survival_rows,
    survival_table,
)
from circuit_transfer.tables.typesetting import write_table


def summarise_head_survival(
    model_path: Path | str,
    heads_paths: Iterable[Path | str],
    edges_paths: Iterable[Path | str],
    masks_paths: Iterable[Path | str],
    survival_path: Path | str,
    survival_table_paths: Iterable[Path | str],
    *,
    model: str,
    tasks: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
    kv: str,
) -> None:
    """Read heads, scores and circuits of every task, write which heads are left.

    Heads are one file for each of `tasks`, edge scores one for each task and method,
    learned circuits one for each task, method and seed. All numbers go to one file, the
    table to one path per format. `sizes` are those that circuits are learned for.
    """
    graph = described_graph(read_description(model_path), kv)
    heads = dict(zip(tasks, (read_frame(p, HEADS) for p in heads_paths), strict=True))
    circuits: dict[tuple[str, str], list[np.ndarray]] = {}
    for labels, found in _circuits(graph, edges_paths, masks_paths, sizes):
        circuits.setdefault(labels, []).append(found)
    methods = [*learned_methods, *edge_methods]
    rows = [
        row
        for task in tasks
        for method in methods
        if (task, method) in circuits
        for row in survival_rows(
            graph,
            np.stack(circuits[task, method]),
            heads[task],
            sizes,
            task=task,
            method=method,
        )
    ]
    frame = survival_frame(rows)
    write_frame(frame, survival_path)
    table = survival_table(frame, methods=methods)
    title = f"Heads that circuits of {model} still use"
    write_table(table, *survival_table_paths, title=title)


def _circuits(
    graph: Graph,
    edges_paths: Iterable[Path | str],
    masks_paths: Iterable[Path | str],
    sizes: Sequence[float],
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Yield task and method, and the circuits of all sizes, of what is known."""
    for path in edges_paths:
        found = read_edge_scores(path)
        check_graph(found, graph, path)
        labels = (found.metadata["task"], found.metadata["method"])
        if not np.isnan(found.flat).any():
            yield labels, edge_circuits(np.abs(found.flat)[None], sizes)[0]
    for path in masks_paths:
        found = read_edge_masks(path)
        check_graph(found, graph, path)
        labels = (found.metadata["task"], found.metadata["method"])
        if not np.isnan(found.flat).any():
            yield labels, found.kept_flat


if __name__ == "__main__":
    run_stage(summarise_head_survival, snakemake)
