"""Measure every aligned circuit of one task, and every control, on the target."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.evaluation import evaluate_rankings
from circuit_transfer.transfer.projection import projected_rankings


def evaluate_aligned(
    target_path: Path | str,
    pairs_path: Path | str,
    scores_paths: Iterable[Path | str],
    gold_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    masks_paths: Iterable[Path | str],
    faithfulness_path: Path | str,
    projections_path: Path | str,
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    method: str,
    tasks: Sequence[str],
    controls: Sequence[str],
    families: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    stitched_path: Path | str | None = None,
    carried_path: Path | str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Project the task's source scores by every map and control, measure every size.

    The projected scores are written as well. Source and target scores are read of all
    `tasks` of the study: some controls use those of other tasks. `settings` are those
    of `evaluate_rankings`.
    """
    rankings = projected_rankings(
        task,
        _scores(tasks, scores_paths),
        _scores(tasks, gold_paths),
        [read_alignment(path) for path in alignments_paths],
        [read_alignment(path) for path in masks_paths],
        controls=controls,
        families=families,
        stitched=read_alignment(stitched_path) if stitched_path else None,
        carried=read_tensors(carried_path)[0] if carried_path else None,
    )
    keys = {"source": source, "target": target, "task": task, "method": method}
    labels = [pl.lit(value).alias(key) for key, value in keys.items()]
    rankings = rankings.select(*labels, pl.all())
    write_frame(rankings, projections_path)
    paths = (target_path, pairs_path, faithfulness_path, cost_path)
    aligned = pl.col("control") == "none"
    evaluate_rankings(
        rankings, *paths, **settings, resume=resume, complement_of=aligned
    )


def _scores(tasks: Sequence[str], paths: Iterable[Path | str]) -> dict[str, np.ndarray]:
    return {t: read_scores(p).scores for t, p in zip(tasks, paths, strict=True)}


if __name__ == "__main__":
    run_stage(evaluate_aligned, snakemake)
