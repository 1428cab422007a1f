"""Draw the circuit of the edges that rank highest, and list them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.figures.circuit_layout import circuit_drawing
from circuit_transfer.figures.circuit_legend import LEGIBLE
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.drawing import draw_circuits
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.tables.circuit_edges import circuit_edges, circuit_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def plot_circuit(
    model_path: Path | str,
    scores_path: Path | str,
    figure_paths: Sequence[Path | str],
    table_path: Path | str,
    *,
    model: str,
    task: str,
    edge_method: str,
    n: str,
) -> None:
    """Read edge scores, write the drawing of the highest ones and their table.

    Args:
        model_path: description of the model.
        scores_path: its edge scores, or its learned circuits of one seed.
        figure_paths: one path per format, SVG and others.
        table_path: the table (CSV).
        model: name of the model.
        task: name of the task.
        edge_method: the method of the scores.
        n: number of edges; of fewer, all are drawn.
    """
    found = read_edge_scores(scores_path)
    graph = described_graph(read_description(model_path), found.metadata["kv"])
    check_graph(found, graph, scores_path)
    edges = circuit_edges(found, graph, int(n))
    if len(edges) > LEGIBLE:
        log.warning(
            "%d edges: drawings of over %d are not legible", len(edges), LEGIBLE
        )
    which, scores = "", "absolute scores"
    if not found.is_signed:
        which, scores = f", seed {found.metadata['seed']}", "learned scores"
    title = (
        f"{model}, {task}, {edge_method}{which}: {len(edges):,} of {graph.n_edges:,} "
        f"edges, those with the highest {scores}"
    )
    group = graph.heads // graph.kv_readers
    draw_circuits(circuit_drawing(edges, title=title, group=group), figure_paths)
    write_table(circuit_table(edges), table_path, title=title)


if __name__ == "__main__":
    run_stage(plot_circuit, snakemake)
