"""Draw the circuits of a source, and gold and transferred ones of the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.figures.circuit_figure import circuit_figure
from circuit_transfer.figures.circuit_svg import circuit_svg
from circuit_transfer.figures.style import save
from circuit_transfer.figures.transferred_circuits import Panel, transferred_circuits
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.tables.transferred_edges import (
    GOLD,
    SOURCE,
    TRANSFERRED,
    transferred_edges,
    transferred_table,
)
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.transfer.training_sets import left_out_sets

COLUMNS = ("training_set", "map", "control", "seed", "scores")


def plot_transferred_circuits(
    models_paths: Sequence[Path | str],
    source_path: Path | str,
    gold_path: Path | str,
    projections_path: Path | str,
    figure_paths: Sequence[Path | str],
    table_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    edge_method: str,
    n: str,
    map_name: str,
    ranking: str,
    seed: int,
    families: Mapping[str, Sequence[str]],
) -> None:
    """Draw the highest edges of three circuits of a task side by side, and list them.

    Args:
        models_paths: descriptions of the source and of the target.
        source_path: edge scores of the source on the task.
        gold_path: those of the target.
        projections_path: the scores of the target that maps give.
        figure_paths: one path per format, SVG and others.
        table_path: the table (CSV).
        source: name of the source model.
        target: name of the target model.
        task: name of the task.
        edge_method: the method of the scores.
        n: number of edges of each circuit.
        map_name: the map, trained without the task's family if it is trained.
        ranking: of both models' scores, `absolute` or `signed`.
        seed: of the map's training.
        families: of the study's tasks.
    """
    found = [read_edge_scores(path) for path in (source_path, gold_path)]
    descriptions = map(read_description, models_paths)
    graphs = [
        described_graph(description, scores.metadata["kv"])
        for description, scores in zip(descriptions, found, strict=True)
    ]
    for scores, graph, path in zip(
        found, graphs, (source_path, gold_path), strict=True
    ):
        check_graph(scores, graph, path)
    *_, training_set = left_out_sets(task, families).values()
    rows = read_frame(projections_path, COLUMNS).filter(
        training_set=training_set, map=map_name, control="none"
    )
    projected = _of_seed(rows, seed)
    edges = transferred_edges(
        *found, projected, tuple(graphs), ranking=ranking, count=int(n)
    )
    titles = {
        SOURCE: f"{source}: the source's circuit",
        GOLD: f"{target}: the gold circuit",
        TRANSFERRED: f"{target}: transferred by {map_name}, {training_set}",
    }
    of_circuit = zip(titles.items(), (graphs[0], *graphs[1:] * 2), strict=True)
    panels = [
        Panel(title, edges.filter(circuit=each), graph.heads // graph.kv_readers)
        for (each, title), graph in of_circuit
    ]
    title = f"{source} → {target}, {task}, {edge_method}: the {n} highest edges"
    drawing = transferred_circuits(panels, title=title)
    for path in figure_paths:
        if Path(path).suffix == ".svg":
            write_text(circuit_svg(drawing), path)
        else:
            save(circuit_figure(drawing), path)
    write_table(transferred_table(edges), table_path, title=title)


def _of_seed(rows: pl.DataFrame, seed: int) -> np.ndarray:
    """Return the scores of a seed, or of a map without one; empty without either."""
    own = rows.filter(pl.col("seed").is_null() | (pl.col("seed") == seed))
    return np.array([] if own.is_empty() else own["scores"][0], np.float32)


if __name__ == "__main__":
    run_stage(plot_transferred_circuits, snakemake)
