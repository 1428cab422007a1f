"""Stitch two models on one task's prompts, and so align their edges for the task."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.edge_alignments import write_edge_alignment
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.stages.stitching import ModelPair, read_model_pair
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.edge_controls import EDGE_TARGET_ONLY
from circuit_transfer.transfer.edge_reads import run_reads
from circuit_transfer.transfer.edge_stitching import edge_change_scores, stitched_edges
from circuit_transfer.transfer.shared_prompts import shorten_both


def stitch_edges(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_path: Path | str,
    target_pairs_path: Path | str,
    alignment_path: Path | str,
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    kv: str,
    examples: int,
    batch_size: int | str,
) -> None:
    """Read the task's training pairs for both models, write one map of edges.

    Scores of the target's edges that know no source are written too: how much each
    changes and how much their nodes do, and the target stitched to itself. Only pairs
    that both models cut into equally many tokens are used; without any, all is NaN.
    """
    pair = read_model_pair(
        (source_path, target_path),
        (source_pairs_path, target_pairs_path),
        examples=examples,
        batch_size=batch_size,
    )
    graphs = described_graph(pair.source, kv), described_graph(pair.target, kv)
    found, costs = _stitch(pair, graphs) if pair.prompts else (_unknown(*graphs), [])
    metadata = {"source": source, "target": target, "task": task, "maps": ["stitched"]}
    metadata |= {"examples": pair.n_pairs(), "kv": kv}
    metadata |= {"source_graph": asdict(graphs[0]), "target_graph": asdict(graphs[1])}
    write_edge_alignment(alignment_path, found, metadata)
    write_json(costs, cost_path)


def _stitch(
    pair: ModelPair, graphs: tuple[Graph, Graph]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the tensors by name, and what the map alone costs."""
    models, graph = tuple(pair.models.values()), graphs[1]
    with measured_together("stitched", pair.models) as costs:
        prompts = shorten_both(*models, pair.prompts)
        runs = run_both(*models, prompts, run_reads)
        edges = stitched_edges(models, graphs, runs)
    # The controls that need the target's own runs only.
    target, own = models[1], runs[1]
    itself = stitched_edges((target, target), (graph, graph), (own, own))
    nodes = change_scores(target, [each.changes() for each in own]).numpy()
    return {
        "writers": edges.writers,
        "readers": edges.readers,
        "node-changes": lifted(graph, nodes),
        "edge-changes": edge_change_scores(target, graph, own).numpy(),
        "self-stitched": np.ones(graph.n_edges, np.float32) @ itself,
    }, costs


def _unknown(source: Graph, target: Graph) -> dict[str, np.ndarray]:
    shapes = {
        name: (len(getattr(source, name)), len(getattr(target, name)))
        for name in ("writers", "readers")
    }
    shapes |= dict.fromkeys(EDGE_TARGET_ONLY, (target.n_edges,))
    return {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}


if __name__ == "__main__":
    run_stage(stitch_edges, snakemake)
