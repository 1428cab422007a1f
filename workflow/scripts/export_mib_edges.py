"""Export edge scores in the format of the MIB benchmark's circuit track."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.artifacts.text import write_parts
from circuit_transfer.circuits.mib_edges import (
    edge_importances,
    edge_tensors,
    query_head_scores,
)
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import QUERY_HEAD, described_graph

log = logging.getLogger(__name__)


def export_mib_edges(
    model_path: Path | str,
    scores_path: Path | str,
    importances_path: Path | str,
    tensors_path: Path | str,
) -> None:
    """Read the scores of a model's edges, write them as JSON and as plain tensors.

    Scores that are not known are exported as null, and MIB will not take the file.
    """
    scores = read_edge_scores(scores_path)
    description = read_description(model_path)
    kv = scores.metadata["kv"]
    scored = described_graph(description, kv)
    if (scores.writers, scores.readers) != (scored.writers, scored.readers):
        raise ValueError(
            f"{scores_path}: scores of {len(scores.writers)} writers and "
            f"{len(scores.readers)} readers; expected {len(scored.writers)} and "
            f"{len(scored.readers)}, those of the model"
        )
    signed = scores.is_signed
    every = scores.scores, scored, description
    values, graph = query_head_scores(*every, divided=signed)
    if not np.isfinite(values).all():
        log.warning("%s: the scores are not known, nothing to submit", scores_path)
    settings = scores.metadata | {"n_edges": graph.n_edges, "scored_kv": kv}
    if kv != QUERY_HEAD:
        log.warning(
            "%s: MIB has a key and a value for each query head, so the score of each "
            "shared one is %s its heads; with `attribution.kv: query-head` each has "
            "its own",
            *(scores_path, "divided evenly among" if signed else "that of all"),
        )
    write_parts(edge_importances(values, graph, description), importances_path)
    tensors, metadata = edge_tensors(values, graph, description)
    write_tensors(tensors_path, tensors, **settings | metadata)


if __name__ == "__main__":
    run_stage(export_mib_edges, snakemake)
