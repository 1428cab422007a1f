"""Tabulate and draw which heads the circuits of a model still use."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import read_json
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
from circuit_transfer.tables.method_measures import placed_circuits
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
    graph = described_graph(read_json(model_path), kv)
    heads = dict(zip(tasks, (read_frame(p, HEADS) for p in heads_paths), strict=True))
    circuits = dict(_ranked(graph, edges_paths, sizes))
    circuits |= _learned(graph, masks_paths, sizes)
    methods, rows = [*learned_methods, *edge_methods], []
    for task in tasks:
        for method in methods:
            found = circuits.get((task, method), {})
            names = {"task": task, "method": method}
            rows += survival_rows(graph, found, heads[task], **names)
    frame = survival_frame(rows)
    write_frame(frame, survival_path)
    table = survival_table(frame, methods=methods)
    title = f"Heads that circuits of {model} still use"
    write_table(table, *survival_table_paths, title=title)


def _ranked(
    graph: Graph, paths: Iterable[Path | str], sizes: Sequence[float]
) -> Iterator[tuple[tuple[str, str], dict[float, list[np.ndarray]]]]:
    """Yield task and method, and the circuits by absolute score, of what is known."""
    for path in paths:
        found = read_edge_scores(path)
        check_graph(found, graph, path)
        if not np.isnan(found.flat).any():
            (circuits,) = edge_circuits(np.abs(found.flat)[None], sizes)
            by_size = {s: [each] for s, each in zip(sizes, circuits, strict=True)}
            yield (found.metadata["task"], found.metadata["method"]), by_size


def _learned(
    graph: Graph, paths: Iterable[Path | str], sizes: Sequence[float]
) -> dict[tuple[str, str], dict[float, list[np.ndarray]]]:
    """Return the learned circuits by task and method, then by size."""
    files = [(path, read_edge_masks(path)) for path in paths]
    for path, found in files:
        check_graph(found, graph, path)
    circuits: dict[tuple[str, str], dict[float, list[np.ndarray]]] = {}
    for found, stands in placed_circuits([each for _, each in files], sizes):
        key = (found.metadata["task"], found.metadata["method"])
        by_size = circuits.setdefault(key, {})
        for size, kept in zip(stands, found.kept_flat, strict=True):
            by_size.setdefault(size, []).append(kept)
    return circuits


if __name__ == "__main__":
    run_stage(summarise_head_survival, snakemake)
