"""Measure learned circuits of edges, and the circuits of other sizes they rank."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.circuits.edge_controls import grown_circuits
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


def evaluate_learned(
    model_path: Path | str,
    pairs_path: Path | str,
    masks_paths: Iterable[Path | str],
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    learned_method: str,
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read learned circuits of every seed, write the faithfulness of every size.

    The first size ranks the edges: its scores give circuits of all proportions. Every
    size has a row of the circuit that was learned for it, with `own_size`, and a random
    circuit of as many effective edges beside it. `settings` are those of
    `evaluate_edge_circuits`, and `proportions`.
    """
    graph = described_graph(read_description(model_path), kv)
    frames, masks = [pl.DataFrame(schema=LABELS)], [np.zeros((0, graph.n_edges), bool)]
    common = {"target": target, "task": task, "method": learned_method}
    for path in masks_paths:
        found = read_edge_masks(path)
        check_graph(found, graph, path)
        if np.isnan(found.flat).any():
            continue
        seed, kept = found.metadata["seed"], found.kept_flat
        labels = common | {"ranking": "signed", "seed": seed}
        own = labels | {"own_size": True}
        frames += [
            labelled(settings["proportions"], **labels, control="none"),
            labelled(found.sizes, **own, control="none"),
            labelled(found.sizes, **own, control="random-effective"),
        ]
        (ranked,) = edge_circuits(found.flat[None], settings["proportions"])
        effective = effective_edges(graph, kept).sum(1)
        masks += [ranked, kept, grown_circuits(graph, effective, seed)]
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.concat(frames), np.concatenate(masks)
    how = {"kv": kv, "settings": settings, "resume": resume}
    evaluate_edge_circuits(*paths, *every, **how, complement_of=FOUND)


if __name__ == "__main__":
    run_stage(evaluate_learned, snakemake)
