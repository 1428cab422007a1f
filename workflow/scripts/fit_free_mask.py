"""Train a mask on the target for one task: what any alignment could reach at best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.alignment import fit_maps
from circuit_transfer.artifacts import (
    read_description,
    read_frame,
    write_alignment,
    write_json,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.objectives import FitSettings, prepare
from circuit_transfer.pairs import select_pairs
from circuit_transfer.passes import measured
from circuit_transfer.unfinished import NOTHING_KEPT, Unfinished, unfinished_job


def fit_free_mask(
    target_path: Path | str,
    pairs_path: Path | str,
    mask_paths: Mapping[int, Path | str],
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    settings: dict[str, Any],
    batch_size: int,
    examples: int,
    unfinished: Unfinished = NOTHING_KEPT,
) -> None:
    """Fit the alignment of a source with a single node, whose score is 1: a mask.

    Writes one file per seed, in the format of an alignment with one row.
    """
    description = read_description(target_path)
    nodes = description["nodes"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    model = load_described(description)
    with measured("prepare", target, model) as cost:
        batches = pair_batches(pairs, batch_size, model.device)
        prepared = prepare(
            model, {task: batches}, intervention=settings["intervention"]
        )
    costs = [cost]
    sources = {} if pairs.is_empty() else {task: np.ones(1, np.float32)}
    labels = {"target": target, "task": task, **settings, "examples": examples}
    labels |= {"target_nodes": nodes, "maps": ["free"]}
    for seed, path in mask_paths.items():
        with measured(f"seed-{seed}", target, model, unfinished) as cost:
            (tensors,) = fit_maps(
                model,
                prepared,
                sources,
                FitSettings(**settings),
                [("free", "none")],
                shape=(1, len(nodes)),
                seed=seed,
                priors={},
                unfinished=unfinished,
            )
        costs.append(cost | {"part": "free-mask", "seed": seed})
        write_alignment(path, tensors, {**labels, "seed": seed})
    write_json(costs, cost_path)
    unfinished.remove()


if __name__ == "__main__":
    with job(snakemake.log[0]):
        fit_free_mask(
            snakemake.input.target,
            snakemake.input.pairs,
            dict(zip(snakemake.params.seeds, snakemake.output.masks, strict=True)),
            snakemake.output.cost,
            settings=snakemake.params.settings,
            **snakemake.params.pairs,
            unfinished=unfinished_job(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
            **snakemake.wildcards,
        )
