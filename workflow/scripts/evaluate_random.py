"""Measure circuits of nodes in random order, the floor of every comparison."""

from pathlib import Path

import polars as pl

from circuit_transfer.artifacts import (
    read_description,
    read_frame,
    write_frame,
    write_json,
)
from circuit_transfer.batches import fitting_batches
from circuit_transfer.controls import random_scores
from circuit_transfer.faithfulness import evaluate_ablations
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.unfinished import NOTHING_KEPT, Unfinished, unfinished_job

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
    ablations: list[str],
    proportions: list[float],
    examples: int,
    batch_size: int | str,
    rankings: int,
    unfinished: Unfinished = NOTHING_KEPT,
) -> None:
    """Rank the target's nodes at random, `rankings` times, and measure every size."""
    description = read_description(model_path)
    n_nodes = len(description["nodes"])
    random = [
        (target, task, "random", seed, random_scores(n_nodes, seed=seed))
        for seed in range(rankings)
    ]
    circuits = pl.DataFrame(random, schema=CIRCUITS, orient="row")
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    frame, costs = evaluate_ablations(
        model,
        fitting_batches(model, pairs, batch_size),
        circuits,
        proportions,
        ablations=ablations,
        model_name=description["model"],
        unfinished=unfinished,
    )
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    unfinished.remove()


if __name__ == "__main__":
    with job(snakemake.log[0]):
        evaluate_random(
            snakemake.input.model,
            snakemake.input.pairs,
            snakemake.output.faithfulness,
            snakemake.output.cost,
            target=snakemake.wildcards.target,
            task=snakemake.wildcards.task,
            **snakemake.params.settings,
            unfinished=unfinished_job(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
