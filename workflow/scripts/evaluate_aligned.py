"""Measure every aligned circuit of one task, and every control, on the target."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.projection import projected_rankings

log = logging.getLogger(__name__)


def evaluate_aligned(
    target_path: Path | str,
    pairs_path: Path | str,
    source_paths: Mapping[str, Path | str],
    gold_paths: Mapping[str, Path | str],
    alignment_paths: Sequence[Path | str],
    mask_paths: Sequence[Path | str],
    stitched_path: Path | str | None,
    carried_path: Path | str | None,
    faithfulness_path: Path | str,
    projections_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    controls: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablations: Sequence[str],
    proportions: Sequence[float],
    examples: int,
    batch_size: int | str,
    resume: Resume = NO_RESUME,
    **labels: str,
) -> None:
    """Project the task's source scores by every map and control, measure every size.

    The projected scores are written as well. Source and target scores are read of every
    task of the study, in its order: some controls use those of other tasks.
    """
    rankings = projected_rankings(
        task,
        _scores(source_paths),
        _scores(gold_paths),
        [read_alignment(path) for path in alignment_paths],
        [read_alignment(path) for path in mask_paths],
        controls=controls,
        families=families,
        stitched=read_alignment(stitched_path) if stitched_path else None,
        carried=read_tensors(carried_path)[0] if carried_path else None,
    )
    keys = {"source": labels["source"], "target": labels["target"], "task": task}
    keys["method"] = labels["method"]
    rankings = rankings.select(
        *(pl.lit(value).alias(key) for key, value in keys.items()), pl.all()
    )
    write_frame(rankings, projections_path)
    description = read_description(target_path)
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
        complement_of=pl.col("control") == "none",
    )
    log.info("%d rankings measured on %d pairs", len(rankings), len(pairs))
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


def _scores(paths: Mapping[str, Path | str]) -> dict[str, np.ndarray]:
    return {task: read_scores(path).scores for task, path in paths.items()}


if __name__ == "__main__":
    with job(snakemake.log[0]):
        tasks = snakemake.params.tasks
        evaluate_aligned(
            snakemake.input.target,
            snakemake.input.pairs,
            dict(zip(tasks, snakemake.input.scores, strict=True)),
            dict(zip(tasks, snakemake.input.gold, strict=True)),
            list(snakemake.input.alignments),
            list(snakemake.input.masks),
            snakemake.input.stitched or None,
            snakemake.input.carried or None,
            snakemake.output.faithfulness,
            snakemake.output.projections,
            snakemake.output.cost,
            controls=snakemake.params.controls,
            families=snakemake.params.families,
            **snakemake.params.settings,
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
            **snakemake.wildcards,
        )
