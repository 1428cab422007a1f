"""Ablate the heads of one model on one task, alone and together with strong ones."""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.head_roles import HEAD_COLUMNS, check_heads
from circuit_transfer.circuits.heads import find_heads as found_heads
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)


def find_heads(
    model_path: Path | str,
    pairs_path: Path | str,
    heads_path: Path | str,
    cost_path: Path | str,
    *,
    named: Sequence[str],
    examples: int,
    batch_size: int | str,
    ablation: str,
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first test pairs, write the effects of heads, and the cost.

    Args:
        model_path: description of the model.
        pairs_path: its pairs of the task.
        heads_path: where the frame of `heads.find_heads` goes; no rows without pairs.
        cost_path: where the cost goes.
        named: the heads to describe; those that are found, if there are none.
        examples: pairs at most.
        batch_size: of them in one pass.
        ablation: the output of an ablated head.
        resume: partial progress.

    Raises:
        ValueError: a named head is not one of the model's.
    """
    description = read_description(model_path)
    nodes, name = description["nodes"], description["model"]
    try:
        check_heads(named, nodes)
    except ValueError as error:
        raise ValueError(f"evaluation.heads.{name}: {error}") from error
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    frame, costs = pl.DataFrame(schema=HEAD_COLUMNS), []
    if not pairs.is_empty():
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        how = {"named": named, "ablation": ablation, "resume": resume}
        with measured("heads", name, model, resume) as cost:
            frame = found_heads(model, batches, nodes, **how)
        costs = [cost]
        log.info("%d pairs: %s", len(pairs), dict(frame.select("head", "role").rows()))
    write_frame(frame, heads_path)
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(find_heads, snakemake)
