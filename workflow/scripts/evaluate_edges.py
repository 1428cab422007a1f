"""Measure the circuits of edges that attribution gives, and random ones beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.circuits.edge_controls import (
    GROWN,
    grown_circuits,
    rankings_of,
)
from circuit_transfer.circuits.edge_masks import edge_circuits, effective_edges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.stages.edges import (
    FOUND,
    LABELS,
    evaluate_edge_circuits,
    labelled,
)


def evaluate_edges(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    edge_method: str,
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read edge scores, write the faithfulness of every size, signed and absolute.

    With every circuit its complement, and beside it random ones with as many effective
    edges. `settings` are those of `evaluate_edge_circuits`, and `proportions`.
    """
    scores = read_edge_scores(scores_path)
    graph = described_graph(read_description(model_path), kv)
    check_graph(scores, graph, scores_path)
    sizes, names = settings["proportions"], {"target": target, "task": task}
    frames, masks = [pl.DataFrame(schema=LABELS)], [np.zeros((0, graph.n_edges), bool)]

    def add(circuits: np.ndarray, **labels: Any) -> None:
        labels |= {"method": edge_method, **names}
        frames.append(labelled(sizes, **labels))
        masks.append(circuits)

    known = np.isfinite(scores.flat).all()
    rankings = rankings_of(scores.flat) if known else {}
    for ranking, values in rankings.items():
        (circuits,) = edge_circuits(values[None], sizes)
        add(circuits, control="none", ranking=ranking)
        effective = effective_edges(graph, circuits).sum(1)
        for seed in GROWN:
            grown = grown_circuits(graph, effective, seed)
            add(grown, control="random-effective", ranking=ranking, seed=seed)
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.concat(frames), np.concatenate(masks)
    how = {"kv": kv, "settings": settings, "resume": resume}
    evaluate_edge_circuits(*paths, *every, **how, complement_of=FOUND)


if __name__ == "__main__":
    run_stage(evaluate_edges, snakemake)
