"""Measure circuits of nodes in random order, the floor of every comparison."""

from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
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
    ablations: list[str],
    proportions: list[float],
    examples: int,
    batch_size: int | str,
    rankings: int,
    resume: Resume = NO_RESUME,
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
        resume=resume,
    )
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


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
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
