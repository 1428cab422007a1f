"""Score every node of one model on one task with several numbers of steps."""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.attribution import attribute_by_steps
from circuit_transfer.circuits.convergence import no_scores, scores_by_steps
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)


def compare_steps(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    method: str,
    counts: Sequence[int],
    examples: int,
    batch_size: int | str,
    ablation: str,
    resume: Resume = NO_RESUME,
) -> None:
    """Score the first training pairs, write one row per number of steps and the costs.

    Without a usable pair all scores are null, which is an empty cell later on.
    """
    description = read_description(model_path)
    name = description["model"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    costs = []
    if pairs.is_empty():
        log.warning("no usable training pair of %s for this model", task)
        scores = no_scores(counts)
    else:
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        how = {"method": method, "counts": counts, "ablation": ablation}
        with measured(method, name, model, resume) as cost:
            results = attribute_by_steps(model, batches, **how, resume=resume)
        scores, costs = scores_by_steps(results), [cost]
        log.info("%d pairs with %s steps", len(pairs), ", ".join(map(str, counts)))
    labels = {"model": name, "task": task, "method": method, "examples": len(pairs)}
    columns = [pl.lit(value).alias(label) for label, value in labels.items()]
    write_frame(scores.select(*columns, pl.all()), scores_path)
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(compare_steps, snakemake)
