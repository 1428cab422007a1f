"""Measure the circuits that direct attribution gives on the target itself."""

from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs


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
    resume: Resume = NO_RESUME,
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
        resume=resume,
        complement_of=pl.lit(True),
    )
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


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
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
