"""Stitch two models on one task's prompts, and so align their nodes for the task."""

import logging
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.jobs.job import job
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.shared_prompts import (
    shared_batches,
    shorten_both,
    size_for_both,
)
from circuit_transfer.transfer.stitching import stitched_alignment

log = logging.getLogger(__name__)


def stitch_alignment(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_path: Path | str,
    target_pairs_path: Path | str,
    alignment_path: Path | str,
    cost_path: Path | str,
    *,
    examples: int,
    batch_size: int | str,
    **labels: str,
) -> None:
    """Read the task's training pairs for both models, write one matrix.

    Beside it stand scores of the target that know no source: how much each node
    changes, and the target stitched to itself. Only pairs that both models cut
    into equally many tokens are used; without any, all is NaN.
    """
    source, target = map(read_description, (source_path, target_path))
    nodes = {"source_nodes": source["nodes"], "target_nodes": target["nodes"]}
    shape = [len(each) for each in nodes.values()]
    tensors = {
        "alignment": np.full(shape, np.nan, np.float32),
        "node-changes": np.full(shape[1:], np.nan, np.float32),
        "self-stitched": np.full(shape[1:], np.nan, np.float32),
    }
    source_model, target_model = load_described(source), load_described(target)
    pairs = [
        select_pairs(read_frame(path), "train", examples)
        for path in (source_pairs_path, target_pairs_path)
    ]
    batch_size = size_for_both((source_model, target_model), pairs, batch_size)
    device = target_model.device
    prompts = shared_batches(*pairs, batch_size, device, aligned=True)
    costs = []
    if prompts:
        models = {source["model"]: source_model, target["model"]: target_model}
        with measured_together("stitched", models) as costs:
            prompts = shorten_both(source_model, target_model, prompts)
            changes = run_both(source_model, target_model, prompts)
            matrix = stitched_alignment(source_model, target_model, *changes)
        # What the target's own runs tell without a source.
        own = stitched_alignment(target_model, target_model, changes[1], changes[1])
        found = (matrix, change_scores(target_model, changes[1]), own.sum(0))
        tensors = dict(zip(tensors, (each.numpy() for each in found), strict=True))
    else:
        log.warning("no training pair that both models cut into equally many tokens")
    used = sum(len(batch) for batch, _ in prompts)
    metadata = {**labels, **nodes, "maps": ["stitched"], "examples": used}
    write_alignment(alignment_path, tensors, metadata)
    write_json(costs, cost_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        stitch_alignment(
            snakemake.input.source,
            snakemake.input.target,
            snakemake.input.source_pairs,
            snakemake.input.target_pairs,
            snakemake.output.alignment,
            snakemake.output.cost,
            **snakemake.params.pairs,
            **snakemake.wildcards,
        )
