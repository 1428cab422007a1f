"""Train a mask on the target for one task: what any alignment could reach at best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.alignment import FitSettings, fit_with_controls, prepare
from circuit_transfer.artifacts import read_frame, read_json, write_alignment
from circuit_transfer.batches import pair_batches
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs


def fit_free_mask(
    target_path: Path | str,
    pairs_path: Path | str,
    mask_paths: Mapping[int, Path | str],
    *,
    target: str,
    task: str,
    settings: dict[str, Any],
    batch_size: int,
    examples: int,
) -> None:
    """Fit the alignment of a source with a single node, whose score is 1: a mask.

    Writes one file per seed, in the format of an alignment with one row.
    """
    description = read_json(target_path)
    nodes = description["nodes"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    model = load_described(description)
    prepared = prepare(model, {task: pair_batches(pairs, batch_size, model.device)})
    sources = {} if pairs.is_empty() else {task: np.ones(1, np.float32)}
    labels = {"target": target, "task": task, **settings, "examples": examples}
    for seed, path in mask_paths.items():
        tensors = fit_with_controls(
            model,
            prepared,
            sources,
            FitSettings(**settings),
            controls=[],
            shape=(1, len(nodes)),
            seed=seed,
        )
        write_alignment(path, tensors, {**labels, "target_nodes": nodes, "seed": seed})


if __name__ == "__main__":
    with job(snakemake.log[0]):
        fit_free_mask(
            snakemake.input.target,
            snakemake.input.pairs,
            dict(zip(snakemake.params.seeds, snakemake.output.masks, strict=True)),
            settings=snakemake.params.settings,
            batch_size=snakemake.params.batch_size,
            examples=snakemake.params.examples,
            **snakemake.wildcards,
        )
