"""Score every node of one model on one task by one attribution method."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts import read_frame, read_json, write_scores
from circuit_transfer.attribution import attribute
from circuit_transfer.batches import pair_batches
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs

log = logging.getLogger(__name__)


def attribute_nodes(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    *,
    task: str,
    method: str,
    examples: int,
    batch_size: int,
    ig_steps: int,
    ablation: str,
) -> None:
    """Read the first training pairs, score the nodes, write the mean scores.

    Without a usable pair the scores are NaN, and the task is an empty cell later on.
    """
    description = read_json(model_path)
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    measured = {}
    if pairs.is_empty():
        log.warning("no usable training pair of %s for this model", task)
        scores = np.full(len(description["nodes"]), np.nan, np.float32)
    else:
        model = load_described(description)
        batches = pair_batches(pairs, batch_size, model.device)
        result = attribute(model, batches, method=method, ig_steps=ig_steps)
        scores = result.mean().cpu().numpy()
        measured = result.summary()
        log.info("%d pairs: %s", len(pairs), measured)
    write_scores(
        scores_path,
        scores,
        nodes=description["nodes"],
        model=description["model"],
        task=task,
        method=method,
        examples=len(pairs),
        ig_steps=ig_steps,
        ablation=ablation,
        **measured,
    )


if __name__ == "__main__":
    with job(snakemake.log[0]):
        attribute_nodes(
            snakemake.input.model,
            snakemake.input.pairs,
            snakemake.output.scores,
            task=snakemake.wildcards.task,
            method=snakemake.wildcards.method,
            examples=snakemake.params.examples,
            batch_size=snakemake.params.batch_size,
            ig_steps=snakemake.params.ig_steps,
            ablation=snakemake.params.ablation,
        )
