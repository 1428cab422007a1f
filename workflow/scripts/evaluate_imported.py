"""Measure the circuits that importances from elsewhere give on a model."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts import (
    read_description,
    read_frame,
    read_json,
    write_frame,
    write_json,
)
from circuit_transfer.batches import fitting_batches
from circuit_transfer.faithfulness import evaluate_ablations
from circuit_transfer.job import job
from circuit_transfer.mib_circuits import from_importances
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.unfinished import NOTHING_KEPT, Unfinished, unfinished_job

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
    ablations: list[str],
    proportions: list[float],
    examples: int,
    batch_size: int | str,
    unfinished: Unfinished = NOTHING_KEPT,
) -> None:
    """Read importances of the target's nodes, write the faithfulness of every size."""
    description = read_description(model_path)
    scores = _read_importances(importances_path, description["nodes"])
    labels = {"target": target, "task": task, "method": circuit}
    rankings = pl.DataFrame([{**labels, "scores": scores.tolist()}])
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    frame, costs = evaluate_ablations(
        model,
        fitting_batches(model, pairs, batch_size),
        rankings,
        proportions,
        ablations=ablations,
        model_name=description["model"],
        unfinished=unfinished,
        complement_of=pl.lit(True),
    )
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    unfinished.remove()


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
    with job(snakemake.log[0]):
        evaluate_imported(
            snakemake.input.model,
            snakemake.input.pairs,
            snakemake.input.importances,
            snakemake.output.faithfulness,
            snakemake.output.cost,
            target=snakemake.wildcards.target,
            task=snakemake.wildcards.task,
            circuit=snakemake.wildcards.circuit,
            **snakemake.params.settings,
            unfinished=unfinished_job(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
