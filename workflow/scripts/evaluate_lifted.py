"""Measure circuits of edges that are ranked by the scores of their nodes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.circuits.edge_masks import edge_circuits, lifted
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.edges import evaluate_edge_circuits, labelled


def evaluate_lifted(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    method: str,
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read node scores, rank edges by the lower of their nodes, write faithfulness.

    What edges of their own tell beyond that, edge scores must show. `settings` are
    those of `evaluate_edge_circuits`, and `proportions`.
    """
    graph = described_graph(read_description(model_path), kv)
    scores = read_scores(scores_path).scores
    sizes = settings["proportions"] if np.isfinite(scores).all() else []
    labels = {"target": target, "task": task, "method": method}
    frame = labelled(sizes, **labels, control="lifted", ranking="signed")
    (masks,) = edge_circuits(lifted(graph, np.nan_to_num(scores))[None], sizes)
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    evaluate_edge_circuits(
        *paths, frame, masks, kv=kv, settings=settings, resume=resume
    )


if __name__ == "__main__":
    run_stage(evaluate_lifted, snakemake)
