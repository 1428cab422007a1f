"""Fit the maps of one training set and their trained controls, for all seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import shared_out
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.stages.fit_inputs import (
    Costs,
    TrainingTask,
    known_priors,
    read_training_tasks,
)
from circuit_transfer.stages.fitting import Fits, prepare_pairs
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.objectives import FitSettings


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
    paths = scores_paths, pairs_paths, source_pairs_paths
    data = read_training_tasks(tasks, *paths, examples=examples, read_scores=_scores)
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


def _scores(path: Path | str) -> np.ndarray:
    return read_scores(path).scores


def _prepare(
    models: Sequence[Mapping[str, Any]],
    data: Mapping[str, TrainingTask],
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
    maps, shape = named["maps"], (len(source["nodes"]), len(target["nodes"]))
    priors, costs = known_priors(maps, models, model, data, prior, batch_size)
    shared = {"settings": FitSettings(**settings), "shape": shape, "priors": priors}
    return Fits(model, name, prepared, **shared, **named), [cost, *costs]


if __name__ == "__main__":
    run_stage(fit_alignment, snakemake)
