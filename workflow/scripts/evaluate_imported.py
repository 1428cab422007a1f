"""Measure the circuits that importances from elsewhere give on a model."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.circuits.imported import ImportedEdges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.evaluation import evaluate_rankings, one_ranking
from circuit_transfer.stages.imported import read_imported
from circuit_transfer.stages.imported_edges import evaluate_imported_edges

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

    `settings` are those of `evaluate_rankings`.
    """
    imported = read_imported(importances_path, read_description(model_path))
    labels = {"target": target, "task": task, "method": circuit}
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    if isinstance(imported, ImportedEdges):
        is_known = imported.is_known
        measure = partial(evaluate_imported_edges, imported, labels=labels)
    else:
        is_known = np.isfinite(imported).all()
        rankings, every = one_ranking(imported, **labels), pl.lit(True)
        measure = partial(evaluate_rankings, rankings, complement_of=every)
    if not is_known:
        log.warning(
            "%s: the scores are not known, there is no circuit", importances_path
        )
    measure(*paths, **settings, resume=resume)


if __name__ == "__main__":
    run_stage(evaluate_imported, snakemake)
