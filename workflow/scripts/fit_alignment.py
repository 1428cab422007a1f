"""Train the alignment of one training set and its trained controls, for all seeds."""

import logging
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.alignment import FitSettings, fit_with_controls, prepare
from circuit_transfer.artifacts import (
    read_frame,
    read_json,
    read_scores,
    write_alignment,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.controls import scaled
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs

log = logging.getLogger(__name__)


def fit_alignment(
    source_path: Path | str,
    target_path: Path | str,
    scores_paths: Mapping[str, Path | str],
    pairs_paths: Mapping[str, Path | str],
    alignment_paths: Mapping[int, Path | str],
    *,
    controls: list[str],
    settings: dict[str, Any],
    batch_size: int,
    examples: int,
    **labels: str,
) -> None:
    """Read source scores and target pairs by task, write one file per seed.

    `examples` pairs are shared evenly by the training tasks, so that every training set
    is trained equally long. A task without usable pairs in either model is left out.
    """
    source, target = read_json(source_path), read_json(target_path)
    scores = {task: read_scores(path).scores for task, path in scores_paths.items()}
    share = ceil(examples / len(scores))
    pairs = {
        task: select_pairs(read_frame(path), "train", share)
        for task, path in pairs_paths.items()
    }
    usable = [t for t in scores if np.isfinite(scores[t]).all() and len(pairs[t])]
    log.info("training on %s, %d pairs each", ", ".join(usable) or "nothing", share)
    model = load_described(target)
    prepared = prepare(
        model, {t: pair_batches(pairs[t], batch_size, model.device) for t in usable}
    )
    nodes = {"source_nodes": source["nodes"], "target_nodes": target["nodes"]}
    made_with = {**labels, **settings, "tasks": usable, "examples": examples, **nodes}
    for seed, path in alignment_paths.items():
        tensors = fit_with_controls(
            model,
            prepared,
            {task: scaled(scores[task]) for task in usable},
            FitSettings(**settings),
            controls=controls,
            shape=(len(source["nodes"]), len(target["nodes"])),
            seed=seed,
        )
        write_alignment(path, tensors, {**made_with, "seed": seed})


if __name__ == "__main__":
    with job(snakemake.log[0]):
        tasks, seeds = snakemake.params.tasks, snakemake.params.seeds
        fit_alignment(
            snakemake.input.source,
            snakemake.input.target,
            dict(zip(tasks, snakemake.input.scores, strict=True)),
            dict(zip(tasks, snakemake.input.pairs, strict=True)),
            dict(zip(seeds, snakemake.output.alignments, strict=True)),
            controls=snakemake.params.controls,
            settings=snakemake.params.settings,
            batch_size=snakemake.params.batch_size,
            examples=snakemake.params.examples,
            **snakemake.wildcards,
        )
