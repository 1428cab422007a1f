"""Draw the circuits of a source, and gold and transferred ones of the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import EdgeScores, read_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.transferred_circuits import Panel, transferred_circuits
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.stages.drawing import draw_circuits
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.tables.transferred_edges import (
    CIRCUITS,
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
    """Draw the highest edges of three circuits of a task, and list them.

    Args:
        models_paths: descriptions of the source and of the target.
        source_path: edge scores of the source on the task.
        gold_path: those of the target.
        projections_path: the scores of the target that maps give.
        figure_paths: one path per format, SVG and others.
        table_path: the table (CSV).
        source: the source model.
        target: the target model.
        task: the task.
        edge_method: the method of the scores.
        n: number of edges of each circuit; of fewer, all.
        map_name: the map, trained without the task's family.
        ranking: of both models' scores, `absolute` or `signed`.
        seed: of the map's training.
        families: of the study's tasks.
    """
    of_source, of_target = map(_read, models_paths, (source_path, gold_path))
    *_, training_set = left_out_sets(task, families).values()
    projected = _projected(projections_path, seed, training_set, map_name)
    scores = of_source, of_target, projected
    edges = transferred_edges(*scores, ranking=ranking, count=int(n))
    own, gold = f"{source}: the source's circuit", f"{target}: the gold circuit"
    titles = (own, gold, f"{target}: by {map_name}, {training_set}")
    panels = _panels(edges, titles, (of_source[1], *2 * [of_target[1]]))
    title = f"{source} → {target}, {task}, {edge_method}: the highest edges"
    draw_circuits(transferred_circuits(panels, title=title), figure_paths)
    write_table(transferred_table(edges), table_path, title=title)


def _read(model_path: Path | str, path: Path | str) -> tuple[EdgeScores, Graph]:
    """Return the scores of the edges of a model, and these."""
    found = read_edge_scores(path)
    graph = described_graph(read_description(model_path), found.metadata["kv"])
    check_graph(found, graph, path)
    return found, graph


def _panels(
    edges: pl.DataFrame, titles: Sequence[str], graphs: Sequence[Graph]
) -> list[Panel]:
    """Return the circuits of the source, gold and transferred, each with its graph.

    Their titles say of how many edges they are: small models have few.
    """
    found = [edges.filter(circuit=each) for each in CIRCUITS]
    return [
        Panel(
            f"{title}, {len(own):,} of {graph.n_edges:,} edges",
            own,
            graph.heads // graph.kv_readers,
        )
        for own, title, graph in zip(found, titles, graphs, strict=True)
    ]


def _projected(path: Path | str, seed: int, training_set: str, name: str) -> np.ndarray:
    """Return the scores that a map gives, of a seed if it has one; empty without."""
    of_seed = pl.col("seed").is_null() | (pl.col("seed") == seed)
    rows = read_frame(path, COLUMNS).filter(of_seed, control="none", map=name)
    own = rows.filter(training_set=training_set)
    return np.array([] if own.is_empty() else own["scores"][0], np.float32)


if __name__ == "__main__":
    run_stage(plot_transferred_circuits, snakemake)
