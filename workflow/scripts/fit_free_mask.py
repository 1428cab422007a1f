"""Train a mask on the target for one task: what any alignment could reach at best."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.fitting import Fits, prepare_pairs
from circuit_transfer.transfer.objectives import FitSettings


def fit_free_mask(
    target_path: Path | str,
    pairs_path: Path | str,
    masks_paths: Iterable[Path | str],
    cost_path: Path | str,
    *,
    target: str,
    task: str,
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    batch_size: int,
    examples: int,
    resume: Resume = NO_RESUME,
) -> None:
    """Fit the alignment of a source with a single node, whose score is 1: a mask.

    Writes one file per seed, in the format of an alignment with one row.
    """
    description = read_description(target_path)
    nodes = description["nodes"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    model = load_described(description)
    how = {"batch_size": batch_size, "intervention": settings["intervention"]}
    prepared, cost = prepare_pairs(model, target, {task: pairs}, **how)
    fits = Fits(
        model,
        target,
        prepared,
        sources={} if pairs.is_empty() else {task: np.ones(1, np.float32)},
        settings=FitSettings(**settings),
        maps=["free"],
        controls=[],
        shape=(1, len(nodes)),
        priors={},
    )
    costs = [cost]
    labels = {"target": target, "task": task, **settings, "examples": examples}
    labels |= {"target_nodes": nodes, "maps": ["free"]}
    every = zip(seeds, masks_paths, strict=True)
    for seed, path in progress(every, len(seeds), "seed"):
        tensors, cost = fits.of_seed(seed, resume)
        costs.append(cost | {"part": "free-mask", "seed": seed})
        write_alignment(path, tensors, {**labels, "seed": seed})
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(fit_free_mask, snakemake)
