"""Measure DiscoGP's circuits of weights and edges, and other circuits of edges."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import EdgeMasks, read_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.pruning.discogp import ablation_kind
from circuit_transfer.pruning.discogp_measures import measure_discogp
from circuit_transfer.pruning.discogp_settings import discogp_settings
from circuit_transfer.pruning.weight_masks import SHAPES, unpack_masks
from circuit_transfer.stages.edge_graphs import check_graph

DISCOGP = "discogp"
LABELS = {
    **dict.fromkeys(("target", "task", "method"), pl.String),
    "seed": pl.Int64,
    "size": pl.Float64,
}
# Method, seed, size, circuit of edges, and masks of weights if there are any.
Circuit = tuple[str, int | None, float | None, np.ndarray, Mapping[str, Tensor] | None]


def evaluate_weights(
    model_path: Path | str,
    pairs_path: Path | str,
    masks_paths: Iterable[Path | str],
    edges_paths: Iterable[Path | str],
    measures_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    sizes: Sequence[float],
    kv: str,
    settings: Mapping[str, Any],
    pruning: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read learned circuits and edge scores, write what DiscoGP measures of them.

    All by the ablation that DiscoGP learns by. Rankings by absolute scores have the
    `sizes` of learned circuits and, of the first seed, that of DiscoGP's. `settings`
    have `examples` and `batch_size`, `pruning` those of DiscoGP.
    """
    description = read_description(model_path)
    graph, name = described_graph(description, kv), description["model"]
    circuits = _circuits(graph, masks_paths, edges_paths, sizes)
    pairs = select_pairs(read_frame(pairs_path), "test", settings["examples"])
    rows = [(target, task, *each[:3]) for each in circuits]
    labels = pl.DataFrame(rows, schema=LABELS, orient="row")
    model = load_described(description)
    batches = fitting_batches(model, pairs, settings["batch_size"])
    resume.expect(batches=[len(batch) for batch in batches])
    with measured("weights", name, model, resume) as cost:
        frame = measure_discogp(
            model,
            batches,
            graph,
            labels,
            np.array([each[3] for each in circuits]).reshape(-1, graph.n_edges),
            ablation=ablation_kind(discogp_settings(pruning[DISCOGP])),
            weights=[each[4] for each in circuits],
            resume=resume,
        )
    write_frame(frame, measures_path)
    write_json([cost], cost_path)
    resume.remove()


def _circuits(
    graph: Graph,
    masks_paths: Iterable[Path | str],
    edges_paths: Iterable[Path | str],
    sizes: Sequence[float],
) -> list[Circuit]:
    """Return the circuits of all methods, DiscoGP's first."""
    found: list[Circuit] = []
    for path in masks_paths:
        masks = read_edge_masks(path)
        check_graph(masks, graph, path)
        found += _learned(masks)
    found.sort(key=lambda each: each[0] != DISCOGP)
    own = [float(each[3].mean()) for each in found[:1] if each[0] == DISCOGP]
    for path in edges_paths:
        scores = read_edge_scores(path)
        check_graph(scores, graph, path)
        if np.isnan(scores.flat).any():
            continue
        method = scores.metadata["method"]
        every = edge_circuits(np.abs(scores.flat)[None], [*own, *sizes])[0]
        names = [None] * len(own) + [*sizes]
        found += [
            (method, None, size, each, None)
            for size, each in zip(names, every, strict=True)
        ]
    return found


def _learned(masks: EdgeMasks) -> list[Circuit]:
    if np.isnan(masks.flat).any():
        return []
    method, seed = masks.metadata["method"], masks.metadata["seed"]
    if method != DISCOGP:
        every = zip(masks.sizes, masks.kept_flat, strict=True)
        return [(method, seed, size, each, None) for size, each in every]
    shapes = masks.metadata[SHAPES]
    weights = unpack_masks(masks.extras, shapes) if shapes else None
    return [(method, seed, None, masks.kept_flat[0], weights)]


if __name__ == "__main__":
    run_stage(evaluate_weights, snakemake)
