"""Ablate the highest edges of a method one by one, to verify their scores."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.exact_edges import exact_edges
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.verification import highest_edges, verify_scores
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.edge_graphs import check_graph

log = logging.getLogger(__name__)


def verify_edges(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    verified_path: Path | str,
    cost_path: Path | str,
    *,
    edge_method: str,
    verify: int,
    examples: int,
    batch_size: int | str,
    ablation: str,
    kv: str,
    resume: Resume = NO_RESUME,
) -> None:
    """Read edge scores, write the exact effects of the highest edges, and the cost.

    On the pairs that the scores are of. Unknown scores have no rows.
    """
    description = read_description(model_path)
    scores, graph = read_edge_scores(scores_path), described_graph(description, kv)
    check_graph(scores, graph, scores_path)
    known = np.isfinite(scores.flat).all()
    edges = highest_edges(scores.flat, verify if known else 0)
    exact, costs = np.zeros(0, np.float32), []
    if len(edges):
        pairs = select_pairs(read_frame(pairs_path), "train", examples)
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        how = {"ablation": ablation, "resume": resume}
        with measured(edge_method, description["model"], model, resume) as cost:
            drops = exact_edges(model, batches, graph, edges, **how)
        exact, costs = drops.double().mean(0).float().numpy(), [cost]
        total = float(np.abs(scores.flat).sum(dtype=float))
        found = verify_scores(scores.flat[edges], exact, total)
        log.info("%d edges on %d pairs: %s", len(edges), len(pairs), found)
    write_frame(_frame(graph, edges, scores.flat, exact), verified_path)
    write_json(costs, cost_path)
    resume.remove()


def _frame(
    graph: Graph, edges: np.ndarray, scores: np.ndarray, exact: np.ndarray
) -> pl.DataFrame:
    ends = zip(*(each[edges] for each in graph.ends), strict=True)
    pairs = [(graph.writers[u], graph.readers[v]) for u, v in ends]
    columns = {
        "edge": [f"{writer}->{reader}" for writer, reader in pairs],
        "writer": [writer for writer, _ in pairs],
        "reader": [reader for _, reader in pairs],
    }
    schema = dict.fromkeys(columns, pl.String)
    numbers = {"score": scores[edges], "exact": exact}
    return pl.DataFrame(
        columns | numbers, schema=schema | dict.fromkeys(numbers, pl.Float32)
    )


if __name__ == "__main__":
    run_stage(verify_edges, snakemake)
