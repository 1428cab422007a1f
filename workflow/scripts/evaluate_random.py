"""Measure circuits of nodes in random order, the floor of every comparison."""

from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts import (
    read_frame,
    read_json,
    write_frame,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.faithfulness import evaluate_circuits
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs


def evaluate_random(
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    *,
    target: str,
    task: str,
    ablation: str,
    proportions: list[float],
    examples: int,
    batch_size: int,
    rankings: int,
) -> None:
    """Rank the target's nodes at random, `rankings` times, and measure every size."""
    description = read_json(model_path)
    n_nodes = len(description["nodes"])
    labels = {"target": target, "task": task, "method": "random", "ablation": ablation}
    random = [np.random.default_rng(seed).random(n_nodes) for seed in range(rankings)]
    circuits = pl.DataFrame(
        [
            {**labels, "seed": seed, "scores": scores.tolist()}
            for seed, scores in enumerate(random)
        ]
    )
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    batches = pair_batches(pairs, batch_size, model.device)
    frame = evaluate_circuits(model, batches, circuits, proportions)
    write_frame(frame, faithfulness_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        evaluate_random(
            snakemake.input.model,
            snakemake.input.pairs,
            snakemake.output.faithfulness,
            target=snakemake.wildcards.target,
            task=snakemake.wildcards.task,
            ablation=snakemake.params.ablation,
            proportions=snakemake.params.proportions,
            examples=snakemake.params.examples,
            batch_size=snakemake.params.batch_size,
            rankings=snakemake.params.rankings,
        )
