"""Fit the maps of one training set and their trained controls, for all seeds."""

import logging
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from circuit_transfer.artifacts.alignments import tensor_name, write_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured, measured_together, shared_out
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.alignment import fit_maps, is_trained
from circuit_transfer.transfer.cka import compare_nodes
from circuit_transfer.transfer.maps import (
    SIMILARITY_MAPS,
    fits,
    node_priors,
    transformed,
)
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.shared_prompts import shared_batches

log = logging.getLogger(__name__)


def fit_alignment(
    source_path: Path | str,
    target_path: Path | str,
    scores_paths: Mapping[str, Path | str],
    pairs_paths: Mapping[str, Path | str],
    source_pairs_paths: Mapping[str, Path | str],
    alignment_paths: Mapping[int, Path | str],
    cost_path: Path | str,
    *,
    maps: Sequence[str],
    transform: str,
    prior: Mapping[str, float],
    controls: Sequence[str],
    settings: dict[str, Any],
    batch_size: int,
    examples: int,
    resume: Resume = NO_RESUME,
    **labels: str,
) -> None:
    """Read source scores and target pairs by task, write one file per seed.

    `examples` pairs are shared evenly by the training tasks, so that every training set
    is trained equally long. A task without usable pairs in either model is left out;
    with none left, every map is NaN. The pairs of the source are read where a map
    compares what nodes represent.
    """
    source, target = map(read_description, (source_path, target_path))
    found = {task: read_scores(path).scores for task, path in scores_paths.items()}
    share = ceil(examples / len(found))
    pairs = _training_pairs(pairs_paths, share)
    usable = [t for t in found if np.isfinite(found[t]).all() and len(pairs[t])]
    vectors = {task: transformed(found[task], transform) for task in usable}
    log.info("training on %s, %d pairs each", ", ".join(usable) or "nothing", share)
    model = load_described(target)
    with measured("prepare", target["model"], model) as cost:
        batches = {t: pair_batches(pairs[t], batch_size, model.device) for t in usable}
        prepared = prepare(model, batches, intervention=settings["intervention"])
    costs, similarity = [cost], None
    if usable and set(maps) & set(SIMILARITY_MAPS):
        of_source = _training_pairs(source_pairs_paths, share)
        parts = [(of_source[task], pairs[task]) for task in usable]
        similarity, more = _similarity(source, target, model, parts, batch_size)
        costs += more
    priors = node_priors(maps, source["nodes"], target["nodes"], similarity, **prior)
    nodes = {"source_nodes": source["nodes"], "target_nodes": target["nodes"]}
    made_with = {**labels, **settings, "tasks": usable, "examples": examples, **nodes}
    made_with |= {"maps": list(maps), "transform": transform, "prior": dict(prior)}
    asked = fits(maps, controls)
    trained = [each for each in asked if is_trained(each[0], vectors, priors)]
    parts = [name if kind == "none" else f"{name}/{kind}" for name, kind in trained]
    for seed, path in alignment_paths.items():
        log.info("seed %d: %s", seed, ", ".join(parts))
        with measured(f"seed-{seed}", target["model"], model, resume) as cost:
            fitted = fit_maps(
                model,
                prepared,
                vectors,
                FitSettings(**settings),
                asked,
                shape=(len(source["nodes"]), len(target["nodes"])),
                seed=seed,
                priors=priors,
                resume=resume,
            )
        costs += [each | {"seed": seed} for each in shared_out(cost, parts)]
        tensors = _named(asked, fitted, maps)
        write_alignment(path, tensors, {**made_with, "seed": seed})
    write_json(costs, cost_path)
    resume.remove()


def _named(
    asked: Sequence[tuple[str, str]],
    fitted: Sequence[Mapping[str, np.ndarray]],
    maps: Sequence[str],
) -> dict[str, np.ndarray]:
    """Name the tensors of every map and control as in an alignment's file."""
    return {
        tensor_name(kind, *each, maps): tensor
        for each, found in zip(asked, fitted, strict=True)
        for kind, tensor in found.items()
    }


def _similarity(
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    model: nn.Module,
    pairs: Sequence[tuple[pl.DataFrame, pl.DataFrame]],
    batch_size: int,
) -> tuple[np.ndarray | None, list[dict[str, Any]]]:
    """Compare the nodes of both models on prompts that both have; return its costs."""
    shared = [
        each
        for of_source, of_target in pairs
        for each in shared_batches(of_source, of_target, batch_size, model.device)
    ]
    if not shared:
        return None, []
    source_model = load_described(source)
    models = {source["model"]: source_model, target["model"]: model}
    with measured_together("similarity", models) as costs:
        similarity = compare_nodes(source_model, model, shared)
    return similarity, costs


def _training_pairs(
    paths: Mapping[str, Path | str], share: int
) -> dict[str, pl.DataFrame]:
    return {
        task: select_pairs(read_frame(path), "train", share)
        for task, path in paths.items()
    }


if __name__ == "__main__":
    with job(snakemake.log[0]):
        tasks, seeds = snakemake.params.tasks, snakemake.params.seeds
        fit_alignment(
            snakemake.input.source,
            snakemake.input.target,
            dict(zip(tasks, snakemake.input.scores, strict=True)),
            dict(zip(tasks, snakemake.input.pairs, strict=True)),
            dict(zip(tasks, snakemake.input.source_pairs, strict=False)),
            dict(zip(seeds, snakemake.output.alignments, strict=True)),
            snakemake.output.cost,
            maps=snakemake.params.maps,
            transform=snakemake.params.transform,
            prior=snakemake.params.prior,
            controls=snakemake.params.controls,
            settings=snakemake.params.settings,
            **snakemake.params.pairs,
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
            **snakemake.wildcards,
        )
