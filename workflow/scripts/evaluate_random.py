"""Measure circuits of nodes in random order, the floor of every comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.evaluation import evaluate_rankings
from circuit_transfer.transfer.controls import random_scores

CIRCUITS = {
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "seed": pl.Int64,
    "scores": pl.List(pl.Float64),
}


def evaluate_random(
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    rankings: int,
    settings: Mapping[str, Any],
    resume: Resume = NO_RESUME,
) -> None:
    """Rank the target's nodes at random, `rankings` times, and measure every size.

    `settings` are those of `evaluate_rankings`.
    """
    n_nodes = len(read_description(model_path)["nodes"])
    random = [
        (target, task, "random", seed, random_scores(n_nodes, seed=seed))
        for seed in range(rankings)
    ]
    circuits = pl.DataFrame(random, schema=CIRCUITS, orient="row")
    paths = (model_path, pairs_path, faithfulness_path, cost_path)
    evaluate_rankings(circuits, *paths, **settings, resume=resume)


if __name__ == "__main__":
    run_stage(evaluate_random, snakemake)
