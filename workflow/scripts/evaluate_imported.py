"""Measure the circuits that importances from elsewhere give on a model."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.mib import from_importances
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.evaluation import evaluate_rankings, one_ranking

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
    """Read importances of the target's nodes, write the faithfulness of every size.

    `settings` are those of `evaluate_rankings`.
    """
    nodes = read_description(model_path)["nodes"]
    scores = _read_importances(importances_path, nodes)
    rankings = one_ranking(scores, target=target, task=task, method=circuit)
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.lit(True)
    evaluate_rankings(rankings, *paths, **settings, resume=resume, complement_of=every)


def _read_importances(path: Path | str, nodes: list[str]) -> np.ndarray:
    importances = read_json(path)
    try:
        scores = from_importances(importances, nodes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if np.isnan(scores).any():
        log.warning("%s: the scores are not known, there is no circuit", path)
    return scores


if __name__ == "__main__":
    run_stage(evaluate_imported, snakemake)
