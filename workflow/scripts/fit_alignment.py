"""Fit the maps of one training set and their trained controls, for all seeds."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import shared_out
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.comparing import known_correspondences
from circuit_transfer.stages.fitting import Fits, prepare_pairs
from circuit_transfer.transfer.correspondences import node_priors
from circuit_transfer.transfer.maps import needed_correspondences, transformed
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.shared_prompts import shared_batches

log = logging.getLogger(__name__)
Costs = list[dict[str, Any]]


def fit_alignment(
    source_path: Path | str,
    target_path: Path | str,
    scores_paths: Iterable[Path | str],
    pairs_paths: Iterable[Path | str],
    source_pairs_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    method: str,
    training_set: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    maps: Sequence[str],
    transform: str,
    prior: Mapping[str, Any],
    controls: Sequence[str],
    settings: Mapping[str, Any],
    batch_size: int,
    examples: int,
    resume: Resume = NO_RESUME,
) -> None:
    """Read source scores and target pairs by task, write one file per seed.

    `examples` pairs are shared evenly by the training tasks, so that every training set
    is trained equally long. A task without usable pairs in either model is left out;
    with none left, every map is NaN. The pairs of the source are read where a map
    compares what nodes represent.
    """
    models = [read_description(path) for path in (source_path, target_path)]
    data = _read(tasks, scores_paths, pairs_paths, source_pairs_paths, examples)
    nodes = {"source_nodes": models[0]["nodes"], "target_nodes": models[1]["nodes"]}
    labels = {"source": source, "target": target, "method": method, **settings, **nodes}
    labels |= {"training_set": training_set, "tasks": [*data], "examples": examples}
    labels |= {"maps": list(maps), "transform": transform, "prior": dict(prior)}
    named = {"maps": maps, "controls": controls}
    named["sources"] = {t: transformed(data[t].scores, transform) for t in data}
    fits, costs = _prepare(models, data, settings, prior, batch_size, **named)
    every = zip(seeds, alignments_paths, strict=True)
    for seed, path in progress(every, len(seeds), "seed"):
        tensors, cost = fits.of_seed(seed, resume)
        write_alignment(path, tensors, {**labels, "seed": seed})
        costs += [each | {"seed": seed} for each in shared_out(cost, fits.parts())]
    write_json(costs, cost_path)
    resume.remove()


@dataclass(frozen=True)
class _Task:
    """A training task: scores `(n_source,)`, pairs for the target, and for the source.

    The latter are None where they are not needed.
    """

    scores: np.ndarray
    pairs: pl.DataFrame
    source_pairs: pl.DataFrame | None


def _read(
    tasks: Sequence[str],
    scores_paths: Iterable[Path | str],
    pairs_paths: Iterable[Path | str],
    source_pairs_paths: Iterable[Path | str],
    examples: int,
) -> dict[str, _Task]:
    """Read the training tasks that can be used, each with its share of the examples."""
    share = ceil(examples / len(tasks))
    source_paths = [*source_pairs_paths] or [None] * len(tasks)
    paths = zip(scores_paths, pairs_paths, source_paths, strict=True)
    usable = {}
    for task, (scores_path, *both) in zip(tasks, paths, strict=True):
        scores = read_scores(scores_path).scores
        pairs, source_pairs = (
            path and select_pairs(read_frame(path), "train", share) for path in both
        )
        if np.isfinite(scores).all() and len(pairs):
            usable[task] = _Task(scores, pairs, source_pairs)
    log.info("training on %s, %d pairs each", ", ".join(usable) or "nothing", share)
    return usable


def _prepare(
    models: Sequence[Mapping[str, Any]],
    data: Mapping[str, _Task],
    settings: Mapping[str, Any],
    prior: Mapping[str, Any],
    batch_size: int,
    **named: Any,
) -> tuple[Fits, Costs]:
    """Load the target and run what all seeds need; return the fits, and the costs."""
    source, target = models
    model, name = load_described(target), target["model"]
    pairs = {task: each.pairs for task, each in data.items()}
    how = {"batch_size": batch_size, "intervention": settings["intervention"]}
    prepared, cost = prepare_pairs(model, name, pairs, **how)
    needed = needed_correspondences(named["maps"], prior["correspondence"])
    known, costs = known_correspondences(
        needed,
        source,
        target,
        model,
        lambda: _shared(data, batch_size, model.device),
    )
    nodes = source["nodes"], target["nodes"]
    priors = node_priors(named["maps"], *nodes, known, **prior)
    shape = (len(nodes[0]), len(nodes[1]))
    shared = {"settings": FitSettings(**settings), "shape": shape, "priors": priors}
    return Fits(model, name, prepared, **shared, **named), [cost, *costs]


def _shared(
    data: Mapping[str, _Task], batch_size: int, device: torch.device
) -> list[tuple[PairBatch, PairBatch]]:
    """Return batches of the pairs of all training tasks that both models have."""
    return [
        batches
        for task in data.values()
        for batches in shared_batches(task.source_pairs, task.pairs, batch_size, device)
    ]


if __name__ == "__main__":
    run_stage(fit_alignment, snakemake)
