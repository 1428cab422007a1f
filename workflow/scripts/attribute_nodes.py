"""Score every node of one model on one task by one attribution method."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches, prompt_numbers
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.attribution import EMPTY_CELL

log = logging.getLogger(__name__)


def attribute_nodes(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    method: str,
    examples: int,
    batch_size: int | str,
    ig_steps: int,
    ablation: str,
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first training pairs, score the nodes, write the scores and the cost.

    Without a usable pair the scores are NaN, and the task is an empty cell later on.
    """
    description = read_description(model_path)
    nodes, name = description["nodes"], description["model"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    how = {"method": method, "ig_steps": ig_steps, "ablation": ablation}
    labels = {"nodes": nodes, "model": name, "task": task, "examples": len(pairs)}
    costs = []
    if pairs.is_empty():
        log.warning(EMPTY_CELL, task)
        scores = np.full(len(nodes), np.nan, np.float32)
        labels["by_example"] = np.empty((0, len(nodes)), np.float32)
    else:
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        with measured(method, name, model, resume) as cost:
            result = attribute(model, batches, **how, resume=resume)
        scores, costs = result.mean().cpu().numpy(), [cost]
        labels["by_example"] = result.nodes.cpu().numpy()
        labels["prompt_numbers"] = prompt_numbers(batches)
        labels |= result.summary()
        log.info("%d pairs: %s", len(pairs), result.summary())
    write_scores(scores_path, scores, **labels, **how)
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(attribute_nodes, snakemake)
