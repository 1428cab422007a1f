"""Measure every aligned circuit of one task, and every control, on the target."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts import (
    read_alignment,
    read_description,
    read_frame,
    read_scores,
    read_tensors,
    write_frame,
    write_json,
)
from circuit_transfer.batches import fitting_batches
from circuit_transfer.faithfulness import evaluate_ablations
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.projection import projected_rankings
from circuit_transfer.unfinished import NOTHING_KEPT, Unfinished, unfinished_job

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
    unfinished: Unfinished = NOTHING_KEPT,
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
        carried=read_tensors(carried_path) if carried_path else None,
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
        unfinished=unfinished,
        complement_of=pl.col("control") == "none",
    )
    log.info("%d rankings measured on %d pairs", len(rankings), len(pairs))
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    unfinished.remove()


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
            unfinished=unfinished_job(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
            **snakemake.wildcards,
        )
