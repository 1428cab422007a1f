"""Measure every aligned circuit of edges of one task, and every control."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.artifacts.edge_scores import EdgeScores, read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.circuits.edge_controls import ranked
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.stages.edges import FOUND, evaluate_edge_circuits
from circuit_transfer.transfer.edge_circuits import ranked_circuits
from circuit_transfer.transfer.edge_fits import read_edge_fit
from circuit_transfer.transfer.levels import EDGES
from circuit_transfer.transfer.lifted import lifted_rankings
from circuit_transfer.transfer.projection import projected_rankings


def evaluate_aligned_edges(
    target_path: Path | str,
    pairs_path: Path | str,
    scores_paths: Iterable[Path | str],
    gold_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    masks_paths: Iterable[Path | str],
    faithfulness_path: Path | str,
    projections_path: Path | str,
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    edge_method: str,
    tasks: Sequence[str],
    maps: Sequence[str],
    controls: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ranking: str,
    kv: str,
    settings: Mapping[str, Any],
    stitched_path: Path | str | None = None,
    nodes_path: Path | str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Project the task's edge scores by every map and control, measure every size.

    The projected scores are written as well, `nodes_path` has those of nodes, `maps`
    the main one first, whose complements alone are shown. `settings`: `evaluate_edges`.
    """
    graph = described_graph(read_description(target_path), kv)
    fits = [read_edge_fit(path) for path in alignments_paths]
    given = _ranked(tasks, scores_paths, ranking, fits[0].source if fits else None)
    gold = _ranked(tasks, gold_paths, ranking, graph)
    masks = [_free_mask(path, graph) for path in masks_paths]
    stitched = read_edge_fit(stitched_path) if stitched_path else None
    how = {"controls": controls, "families": families, "stitched": stitched}
    rankings = projected_rankings(task, given, gold, fits, masks, level=EDGES, **how)
    if nodes_path:
        of_nodes = lifted_rankings(read_frame(nodes_path), graph, maps, controls)
        rankings = pl.concat([rankings, of_nodes])
    rankings = _labelled(rankings, source, target, task, edge_method)
    write_frame(rankings, projections_path)
    sizes = settings["proportions"]
    circuits = ranked_circuits(graph, rankings, sizes, maps[0], controls)
    paths = (target_path, pairs_path, faithfulness_path, cost_path)
    drawn = FOUND & (pl.col("map") == maps[0])
    how = {"kv": kv, "settings": settings, "resume": resume, "complement_of": drawn}
    evaluate_edge_circuits(*paths, *circuits, **how)


def _labelled(
    rankings: pl.DataFrame, source: str, target: str, task: str, method: str
) -> pl.DataFrame:
    names = {"source": source, "target": target, "task": task, "method": method}
    labels = [pl.lit(value).alias(key) for key, value in names.items()]
    return rankings.select(*labels, pl.all())


def _ranked(
    tasks: Sequence[str],
    paths: Iterable[Path | str],
    ranking: str,
    graph: Graph | None,
) -> dict[str, np.ndarray]:
    """Return the scores by which the edges of a graph rank, by task."""
    found = {}
    for task, path in zip(tasks, paths, strict=True):
        scores = _checked(read_edge_scores(path), graph, path)
        found[task] = ranked(scores.flat, ranking)
    return found


def _free_mask(path: Path | str, graph: Graph) -> Alignment:
    """Return a ranking of the target's edges that was learned, as one of nodes is."""
    masks = _checked(read_edge_masks(path), graph, path)
    return Alignment({"alignment": masks.flat[None]}, {"seed": masks.metadata["seed"]})


def _checked(scores: EdgeScores, graph: Graph | None, path: Path | str) -> EdgeScores:
    if graph is not None:
        check_graph(scores, graph, path)
    return scores


if __name__ == "__main__":
    run_stage(evaluate_aligned_edges, snakemake)
