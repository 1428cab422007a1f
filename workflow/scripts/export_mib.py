"""Export node scores in the format of the MIB benchmark's circuit track."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.mib import to_dense, to_importances
from circuit_transfer.jobs.stage import run_stage

log = logging.getLogger(__name__)


def export_mib(
    model_path: Path | str,
    scores_path: Path | str,
    importances_path: Path | str,
    tensors_path: Path | str,
) -> None:
    """Read the scores of a model's nodes, write them as JSON and as plain tensors.

    Scores that are not known are exported as null, and MIB will not take the file.
    """
    scores = read_scores(scores_path)
    if not np.isfinite(scores.scores).all():
        log.warning("%s: the scores are not known, nothing to submit", scores_path)
    description = read_description(model_path)
    importances = to_importances(scores.scores, scores.nodes, description)
    write_json(importances, importances_path)
    tensors, metadata = to_dense(importances)
    write_tensors(tensors_path, tensors, **scores.metadata | metadata)


if __name__ == "__main__":
    run_stage(export_mib, snakemake)
