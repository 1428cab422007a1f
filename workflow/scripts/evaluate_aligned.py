"""Measure every aligned circuit of one task, and every control, on the target."""

import logging
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts import (
    read_alignment,
    read_frame,
    read_json,
    read_scores,
    write_frame,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.faithfulness import evaluate_circuits
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.projection import projected_rankings

log = logging.getLogger(__name__)


def evaluate_aligned(
    target_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    alignment_paths: list[Path | str],
    mask_paths: list[Path | str],
    faithfulness_path: Path | str,
    *,
    controls: list[str],
    ablation: str,
    proportions: list[float],
    examples: int,
    batch_size: int,
    **labels: str,
) -> None:
    """Project the task's source scores by every alignment and measure every size."""
    rankings = projected_rankings(
        read_scores(scores_path),
        [read_alignment(path) for path in alignment_paths],
        [read_alignment(path) for path in mask_paths],
        controls=controls,
    )
    keys = {**labels, "ablation": ablation}
    rankings = rankings.select(
        *(pl.lit(value).alias(key) for key, value in keys.items()), pl.all()
    )
    description = read_json(target_path)
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    batches = pair_batches(pairs, batch_size, model.device)
    frame = evaluate_circuits(model, batches, rankings, proportions)
    log.info("%d rankings measured on %d pairs", len(rankings), len(pairs))
    write_frame(frame, faithfulness_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        evaluate_aligned(
            snakemake.input.target,
            snakemake.input.pairs,
            snakemake.input.scores,
            list(snakemake.input.alignments),
            list(snakemake.input.masks),
            snakemake.output.faithfulness,
            controls=snakemake.params.controls,
            ablation=snakemake.params.ablation,
            proportions=snakemake.params.proportions,
            examples=snakemake.params.examples,
            batch_size=snakemake.params.batch_size,
            **snakemake.wildcards,
        )
