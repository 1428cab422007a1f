"""Stitch two models on one task's prompts, and so align their nodes for the task."""

from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.stitching import ModelPair, read_model_pair
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.shared_prompts import shorten_both
from circuit_transfer.transfer.stitching import stitched_alignment


def stitch_alignment(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_path: Path | str,
    target_pairs_path: Path | str,
    alignment_path: Path | str,
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    examples: int,
    batch_size: int | str,
) -> None:
    """Read the task's training pairs for both models, write one matrix.

    Scores of the target that know no source are written too: how much each node
    changes, and the target stitched to itself. Only pairs that both models cut
    into equally many tokens are used; without any, all is NaN.
    """
    pair = read_model_pair(
        (source_path, target_path),
        (source_pairs_path, target_pairs_path),
        examples=examples,
        batch_size=batch_size,
    )
    nodes = {"source_nodes": pair.source["nodes"], "target_nodes": pair.target["nodes"]}
    shape = [len(each) for each in nodes.values()]
    tensors = {
        "alignment": np.full(shape, np.nan, np.float32),
        "node-changes": np.full(shape[1:], np.nan, np.float32),
        "self-stitched": np.full(shape[1:], np.nan, np.float32),
    }
    found, costs = _stitch(pair) if pair.prompts else ({}, [])
    labels = {"source": source, "target": target, "task": task, "maps": ["stitched"]}
    metadata = {**labels, **nodes, "examples": pair.n_pairs()}
    write_alignment(alignment_path, tensors | found, metadata)
    write_json(costs, cost_path)


def _stitch(pair: ModelPair) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the tensors by name, and what the matrix alone costs."""
    source, target = pair.models.values()
    with measured_together("stitched", pair.models) as costs:
        prompts = shorten_both(source, target, pair.prompts)
        changes = run_both(source, target, prompts)
        matrix = stitched_alignment(source, target, *changes)
    # The controls that need the target's own runs only.
    own = stitched_alignment(target, target, changes[1], changes[1])
    found = {
        "alignment": matrix,
        "node-changes": change_scores(target, changes[1]),
        "self-stitched": own.sum(0),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}, costs


if __name__ == "__main__":
    run_stage(stitch_alignment, snakemake)
