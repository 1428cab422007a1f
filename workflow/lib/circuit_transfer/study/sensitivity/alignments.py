"""Alignments of a pair of models on every training set, under every variant."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment, tensor_name
from circuit_transfer.circuits.prepared import Preparations, prepare
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.study.sensitivity.scores import SCORED_BY, Scores
from circuit_transfer.study.sensitivity.settings import (
    Compared,
    Settings,
    Variants,
    first,
    groups,
)
from circuit_transfer.study.sensitivity.subjects import Study, Subject
from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.cka import COMPARISONS
from circuit_transfer.transfer.controls import trained_controls
from circuit_transfer.transfer.correspondences import node_priors, recorded_nodes
from circuit_transfer.transfer.family_draws import drawn_tasks
from circuit_transfer.transfer.maps import (
    COST_PARTS,
    LINEAGE,
    fits,
    needed_correspondences,
    transformed,
)
from circuit_transfer.transfer.shared_prompts import shared_batches
from circuit_transfer.transfer.training_sets import (
    family_sets,
    training_sets,
    training_tasks,
)

log = logging.getLogger(__name__)

# The settings that the prepared batches of training depend on.
PREPARED_BY = ("examples", "training_ablation")


def fitted_alignments(
    study: Study,
    variants: Variants,
    scores: Mapping[str, Scores],
    compared: Compared,
) -> dict[str, list[Alignment]]:
    """Fit the main map and its control on every training set but `all`, by variant.

    Args:
        study: the models and the tasks.
        variants: settings by name.
        scores: by variant, the source's on every task.
        compared: of it, the controls, and whether only some training sets are fitted.
    """
    made: dict[str, list[Alignment]] = {name: [] for name in variants}
    sets = family_sets if compared.only_family_sets else training_sets
    names = sets(study.tasks, study.families)
    fitted_sets = [name for name in names if name != "all"]
    for training_set in progress(fitted_sets, len(fitted_sets), "training set"):
        controls = trained_controls(training_set, compared.controls)
        # One training set at a time: its prepared batches take most of the memory.
        for tasks, group in _prepared_together(study, variants, training_set):
            settings = first(group)
            size = _batch_size(study, settings, training_set, tasks)
            settings = replace(settings, batch_size=size)
            prepared, known = _prepared(study, settings, tasks)
            for same in groups(group, ("fit", "seeds", *SCORED_BY)):
                name, settings = next(iter(same.items()))
                sources = {
                    task: transformed(scores[name][task], settings.transform)
                    for task in tasks
                }
                log.info("value %s: fitting on %s", name, training_set)
                data = (prepared, sources, known)
                fitted = _fitted(study, settings, training_set, controls, *data)
                for each in same:
                    made[each] += fitted
    return made


def _prepared_together(
    study: Study, variants: Variants, training_set: str
) -> Iterator[tuple[Sequence[str], Variants]]:
    """Yield tasks of a training set, and the variants with the seeds that have them.

    A draw of families may differ from seed to seed.
    """
    for group in groups(variants, PREPARED_BY):
        seeds: dict[tuple[str, ...], dict[str, list[int]]] = {}
        for name, settings in group.items():
            place = (training_set, study.tasks, study.families)
            for seed in settings.seeds:
                tasks = drawn_tasks(*place, settings.training_families, seed=seed)
                seeds.setdefault(tuple(tasks), {}).setdefault(name, []).append(seed)
        for tasks, own in seeds.items():
            yield (
                tasks,
                {n: replace(group[n], seeds=tuple(each)) for n, each in own.items()},
            )


def _batch_size(
    study: Study, settings: Settings, training_set: str, tasks: Sequence[str]
) -> int:
    """Return the batch size by which some tasks of a set take as many steps as all.

    Batches are of one task and of prompts of one length, so that equally many pairs of
    fewer tasks would fill fewer batches.
    """
    known = training_tasks(training_set, study.tasks, study.families)
    if list(tasks) == known:
        return settings.batch_size

    def steps(of: Sequence[str], size: int) -> int:
        pairs = _pairs(study.target, settings, of).values()
        return sum(len(pair_batches(each, size)) for each in pairs)

    wanted = steps(known, settings.batch_size)
    sizes = range(settings.batch_size, 0, -1)
    return min(sizes, key=lambda size: abs(steps(tasks, size) - wanted))


def _pairs(
    subject: Subject, settings: Settings, tasks: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Return the pairs of a fit, shared evenly by its tasks."""
    share = ceil(settings.examples / len(tasks))
    return {task: select_pairs(subject.pairs[task], "train", share) for task in tasks}


def _prepared(
    study: Study, settings: Settings, tasks: Sequence[str]
) -> tuple[Preparations, dict[str, np.ndarray | None]]:
    """Run the target on the pairs of a training set; compare nodes if a map does."""
    source, target = study.source, study.target
    device = target.model.device
    pairs, of_source = (_pairs(each, settings, tasks) for each in (target, source))
    batches = {
        task: pair_batches(each, settings.batch_size, device)
        for task, each in pairs.items()
    }
    prepared = prepare(target.model, batches, settings.training_ablation)
    needed = needed_correspondences([settings.map], settings.prior["correspondence"])
    known: dict[str, np.ndarray | None] = {}
    if LINEAGE in needed:
        known[LINEAGE] = recorded_nodes(*map(_description, (source, target)))
    compared = [each for each in COST_PARTS if each in needed]
    if not compared:
        return prepared, known
    shared = [
        each
        for task in tasks
        for each in shared_batches(
            of_source[task], pairs[task], settings.batch_size, device
        )
    ]
    if shared:
        for each in compared:
            known[each] = COMPARISONS[each](source.model, target.model, shared)
    return prepared, known


def _description(subject: Subject) -> dict[str, Any]:
    """Return what a recorded correspondence is read from."""
    known = {"model": subject.name, "nodes": subject.nodes}
    return known | {"lineage": subject.lineage}


def _fitted(
    study: Study,
    settings: Settings,
    training_set: str,
    controls: Sequence[str],
    prepared: Preparations,
    sources: Scores,
    known: Mapping[str, np.ndarray | None],
) -> list[Alignment]:
    """Fit one training set with every seed; as `artifacts.alignments` reads them."""
    nodes = {"source_nodes": study.source.nodes, "target_nodes": study.target.nodes}
    usable = {
        task: vector
        for task, vector in sources.items()
        if task in prepared.tasks and np.isfinite(vector).all()
    }
    priors = node_priors([settings.map], *nodes.values(), known, **settings.prior)
    labels = {"training_set": training_set, "tasks": list(usable), **nodes}
    labels |= {"maps": [settings.map], "transform": settings.transform}
    alignments = []
    requested = fits([settings.map], controls)
    for seed in progress(settings.seeds, len(settings.seeds), "seed"):
        fitted = fit_maps(
            study.target.model,
            prepared,
            usable,
            settings.fit,
            requested,
            shape=(len(study.source.nodes), len(study.target.nodes)),
            seed=seed,
            priors=priors,
        )
        tensors = {
            tensor_name(kind, *each, [settings.map]): tensor
            for each, found in zip(requested, fitted, strict=True)
            for kind, tensor in found.items()
        }
        alignments.append(Alignment(tensors, labels | {"seed": seed}))
    return alignments
