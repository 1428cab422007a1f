"""Compare the scores of edges that different methods give to one model."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.tables.edge_agreement import (
    Scores,
    agreement_rows,
    agreement_table,
    verified_rows,
)
from circuit_transfer.tables.edge_curves import LIFTED
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def correlate_edges(
    model_path: Path | str,
    edges_paths: Iterable[Path | str],
    nodes_paths: Iterable[Path | str],
    verified_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    model: str,
    tasks: Sequence[str],
    edge_methods: Sequence[str],
    methods: Sequence[str],
    proportions: Sequence[float],
) -> None:
    """Write the table of a model, one path per format.

    Args:
        model_path: the description of the model.
        edges_paths: scores of edges, of every task one method after the other.
        nodes_paths: scores of nodes, in the same way.
        verified_paths: patched edges, of every task and of methods that have any.
        table_paths: where the table goes.
        model: the model.
        tasks: in order.
        edge_methods: that scored edges, in order.
        methods: that scored nodes, in order.
        proportions: the sizes of the circuits whose overlap is measured.
    """
    description = read_json(model_path)
    edges, nodes = list(edges_paths), list(nodes_paths)
    rows, totals = [], {}
    for number, task in progress([*enumerate(tasks)], len(tasks), "task"):
        of_edges, of_nodes = (
            files[number * len(names) : (number + 1) * len(names)]
            for files, names in ((edges, edge_methods), (nodes, methods))
        )
        scores = _scores(description, of_edges, of_nodes)
        rows += agreement_rows(scores, proportions, task=task)
        totals |= {(task, name): _total(scores[name]) for name in edge_methods}
    for path in verified_paths:
        rows += _verified(Path(path), totals)
    table = agreement_table(rows, tasks=tasks, proportions=proportions)
    write_table(table, *table_paths, title=f"Agreement of scores of edges, {model}")


def _scores(
    description: dict, edges: Sequence[Path | str], nodes: Sequence[Path | str]
) -> Scores:
    """Return the scores of edges of one task by method, and those of nodes lifted."""
    found = {}
    for path in edges:
        scores = read_edge_scores(path)
        found[scores.metadata["method"]] = scores.flat
        graph = described_graph(description, scores.metadata["kv"])
    for path in nodes:
        of_nodes = read_scores(path)
        name = f"{LIFTED}, {of_nodes.metadata['method']}"
        found[name] = lifted(graph, of_nodes.scores)
    return found


def _total(scores: np.ndarray) -> float:
    return float(np.abs(scores).sum(dtype=float))


def _verified(
    path: Path, totals: Mapping[tuple[str, str], float]
) -> Iterator[dict[str, object]]:
    method, task = path.stem, path.parent.name
    frame = read_frame(path, ["score", "exact"])
    yield from verified_rows(frame, totals[task, method], method=method, task=task)


if __name__ == "__main__":
    run_stage(correlate_edges, snakemake)
