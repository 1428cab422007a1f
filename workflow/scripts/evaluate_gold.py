"""Measure the circuits that direct attribution gives on the target itself."""

from pathlib import Path

import polars as pl

from circuit_transfer.artifacts import (
    read_description,
    read_frame,
    read_scores,
    write_frame,
    write_json,
)
from circuit_transfer.batches import fitting_batches
from circuit_transfer.faithfulness import evaluate_ablations
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.unfinished import NOTHING_KEPT, Unfinished, unfinished_job


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
    ablations: list[str],
    proportions: list[float],
    examples: int,
    batch_size: int | str,
    unfinished: Unfinished = NOTHING_KEPT,
) -> None:
    """Read scores of the target's nodes, write the faithfulness of every size."""
    gold = read_scores(scores_path)
    labels = {"target": target, "task": task, "method": method}
    rankings = pl.DataFrame([{**labels, "scores": gold.scores.tolist()}])
    description = read_description(model_path)
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


if __name__ == "__main__":
    with job(snakemake.log[0]):
        evaluate_gold(
            snakemake.input.model,
            snakemake.input.pairs,
            snakemake.input.scores,
            snakemake.output.faithfulness,
            snakemake.output.cost,
            target=snakemake.wildcards.target,
            task=snakemake.wildcards.task,
            method=snakemake.wildcards.method,
            **snakemake.params.settings,
            unfinished=unfinished_job(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
