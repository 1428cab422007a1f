"""Train a mask on the target for one task: what any alignment could reach at best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.objectives import FitSettings


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
    resume: Resume = NO_RESUME,
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
        with measured(f"seed-{seed}", target, model, resume) as cost:
            (tensors,) = fit_maps(
                model,
                prepared,
                sources,
                FitSettings(**settings),
                [("free", "none")],
                shape=(1, len(nodes)),
                seed=seed,
                priors={},
                resume=resume,
            )
        costs.append(cost | {"part": "free-mask", "seed": seed})
        write_alignment(path, tensors, {**labels, "seed": seed})
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    with job(snakemake.log[0]):
        fit_free_mask(
            snakemake.input.target,
            snakemake.input.pairs,
            dict(zip(snakemake.params.seeds, snakemake.output.masks, strict=True)),
            snakemake.output.cost,
            settings=snakemake.params.settings,
            **snakemake.params.pairs,
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
            **snakemake.wildcards,
        )
