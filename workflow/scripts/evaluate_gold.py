"""Measure the circuits that direct attribution gives on the target itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.evaluation import evaluate_rankings, one_ranking


def evaluate_gold(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    method: str,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Read scores of the target's nodes, write the faithfulness of every size.

    `settings` are those of `evaluate_rankings`.
    """
    scores = read_scores(scores_path).scores
    rankings = one_ranking(scores, target=target, task=task, method=method)
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    every = pl.lit(True)
    evaluate_rankings(rankings, *paths, **settings, resume=resume, complement_of=every)


if __name__ == "__main__":
    run_stage(evaluate_gold, snakemake)
