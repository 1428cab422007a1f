"""Measure the circuits that importances from elsewhere give on a model."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.circuits.mib import from_importances
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

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
    resume: Resume = NO_RESUME,
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
        resume=resume,
        complement_of=pl.lit(True),
    )
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


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
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
