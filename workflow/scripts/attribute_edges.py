"""Score every edge of one model on one task by one attribution method."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import keeps_examples, write_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_attribution import attribute_edges as attribute
from circuit_transfer.circuits.methods import takes_steps
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches, prompt_numbers
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.attribution import EMPTY_CELL

log = logging.getLogger(__name__)


def attribute_edges(
    model_path: Path | str,
    pairs_path: Path | str,
    scores_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    edge_method: str,
    examples: int,
    batch_size: int | str,
    ig_steps: int,
    ablation: str,
    kv: str,
    keep_examples: bool | str,
    grid: str = "right",
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first training pairs, score the edges, write the scores and the cost.

    Without a usable pair the scores are NaN, and the task is an empty cell later on.
    """
    description = read_description(model_path)
    graph, name = described_graph(description, kv), description["model"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    how = {"method": edge_method, "ig_steps": ig_steps, "ablation": ablation}
    how |= {"grid": grid} if takes_steps(edge_method) else {}
    labels = {"model": name, "task": task, "examples": len(pairs), **how}
    labels |= graph.description()
    costs = []
    if pairs.is_empty():
        log.warning(EMPTY_CELL, task)
        scores = np.full(graph.legal.shape, np.nan, np.float32)
    else:
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        kept = keeps_examples(keep_examples, len(pairs), graph.n_edges)
        how |= {"by_example": kept, "resume": resume}
        with measured(edge_method, name, model, resume) as cost:
            result = attribute(model, batches, graph, **how)
        scores, costs = result.scores.cpu().numpy(), [cost]
        if result.by_example is not None:
            labels["by_example"] = result.by_example.cpu().numpy()
        labels |= {"prompt_numbers": prompt_numbers(batches), **result.summary()}
        log.info(
            "%d edges on %d pairs: %s", graph.n_edges, len(pairs), result.summary()
        )
    write_edge_scores(scores_path, scores, **labels)
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(attribute_edges, snakemake)
