"""Measure the circuits that importances from elsewhere give on a model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.imported import ImportedEdges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.edges import LABELS, evaluate_edge_circuits, labelled
from circuit_transfer.stages.evaluation import evaluate_rankings, one_ranking
from circuit_transfer.stages.imported import read_imported

log = logging.getLogger(__name__)


def evaluate_imported(
    model_path: Path | str,
    pairs_path: Path | str,
    importances_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    circuit: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read the target's nodes or edges, write the faithfulness of every size.

    A circuit of edges has only its own size. `settings` are those of
    `evaluate_rankings`.
    """
    imported = read_imported(importances_path, read_description(model_path))
    labels = {"target": target, "task": task, "method": circuit}
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    is_edges = isinstance(imported, ImportedEdges)
    if not (imported.is_known if is_edges else np.isfinite(imported).all()):
        log.warning(
            "%s: the scores are not known, there is no circuit", importances_path
        )
    if is_edges:
        rows, masks = _circuits(imported, settings["proportions"], labels)
        kv = {"kv": imported.graph.kv}
        evaluate_edge_circuits(
            *paths, rows, masks, **kv, settings=settings, resume=resume
        )
    else:
        rankings, every = one_ranking(imported, **labels), pl.lit(True)
        evaluate_rankings(
            rankings, *paths, **settings, resume=resume, complement_of=every
        )


def _circuits(
    edges: ImportedEdges, sizes: Sequence[float], labels: Mapping[str, str]
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return labels and masks of the circuits of every size, or of the one that is."""
    labels = {"control": "none", **labels}
    if edges.circuit is not None:
        share = float(edges.circuit.mean())
        return labelled([share], own_size=True, **labels), edges.circuit[None]
    frames, masks = [pl.DataFrame(schema=LABELS)], [np.zeros((0, edges.graph.n_edges))]
    for ranking, scores in edges.ranked().items():
        frames.append(labelled(sizes, ranking=ranking, **labels))
        masks.extend(edge_circuits(scores[None], sizes))
    return pl.concat(frames), np.concatenate(masks).astype(bool)


if __name__ == "__main__":
    run_stage(evaluate_imported, snakemake)
