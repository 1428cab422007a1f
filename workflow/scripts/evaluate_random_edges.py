"""Measure circuits of edges in random order, the floor of every comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.circuits.edge_controls import random_edge_scores
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.edges import LABELS, evaluate_edge_circuits, labelled


def evaluate_random_edges(
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    rankings: int,
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Rank the target's edges at random, `rankings` times, and measure every size.

    `settings` are those of `evaluate_edge_circuits`, and `proportions`.
    """
    graph = described_graph(read_description(model_path), kv)
    sizes = settings["proportions"]
    labels = {"target": target, "task": task, "method": "random"}
    labels |= {"control": "random", "ranking": "signed"}
    # There may be no ranking.
    frames, masks = [pl.DataFrame(schema=LABELS)], [np.zeros((0, graph.n_edges), bool)]
    for seed in range(rankings):
        frames.append(labelled(sizes, **labels, seed=seed))
        masks += [*edge_circuits(random_edge_scores(graph, seed)[None], sizes)]
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.concat(frames), np.concatenate(masks)
    evaluate_edge_circuits(*paths, *every, kv=kv, settings=settings, resume=resume)


if __name__ == "__main__":
    run_stage(evaluate_random_edges, snakemake)
