"""How results depend on the settings: a study again and again, one setting changed.

Everything is done as the stages of a study do it, for one pair of models and one
method, in memory: what two values of a setting have in common is computed once.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from circuit_transfer.artifacts.alignments import Alignment, tensor_name
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.circuits.methods import check_method
from circuit_transfer.circuits.passes import measured, measured_together
from circuit_transfer.prompts.batches import fitting_batches, pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.tables.curves import KEYS, named_rows, summarise
from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.cka import compare_nodes, shared_batches
from circuit_transfer.transfer.controls import random_scores, trained_controls
from circuit_transfer.transfer.maps import (
    SIMILARITY_MAPS,
    fits,
    node_priors,
    transformed,
)
from circuit_transfer.transfer.objectives import FitSettings, Preparations, prepare
from circuit_transfer.transfer.projection import projected_rankings
from circuit_transfer.transfer.training_sets import (
    Families,
    training_sets,
    training_tasks,
    zero_shot_sets,
)

log = logging.getLogger(__name__)

CONTROLS = ("source-free",)
ABLATED = ("attribution_ablation", "training_ablation", "evaluation_ablation")
# What the scores, the prepared runs of training, and a measurement depend on.
SCORED_BY = ("ig_steps", "attribution_ablation")
PREPARED_BY = ("examples", "training_ablation")
MEASURED_BY = ("proportions", "evaluation_ablation")
VARIED = {"setting": pl.String, "value": pl.String, "configured": pl.Boolean}
NAMED = {"circuit": pl.String, "protocol": pl.String}
AREAS = {"cpr": pl.Float64, "cmd": pl.Float64}
SCHEMA = VARIED | KEYS | AREAS | NAMED

Scores = Mapping[str, np.ndarray]
Variants = Mapping[str, "Settings"]


@dataclass(frozen=True)
class Subject:
    """A model of a study.

    Attributes:
        name: in the study.
        model: with frozen parameters.
        nodes: the names of its nodes, in their order.
        pairs: by task, in the study's order, all usable pairs tokenized for it.
    """

    name: str
    model: nn.Module
    nodes: Sequence[str]
    pairs: Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Study:
    """One pair of models and one method, and what belongs together among the tasks."""

    source: Subject
    target: Subject
    method: str
    siblings: Sequence[Sequence[str]]
    families: Families

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(self.target.pairs)


@dataclass(frozen=True)
class Settings:
    """Everything that a study can be run with; named as in the configuration.

    Attributes:
        fit: how alignments are trained.
        map: how source scores become target scores.
        prior: `depth_width` and `temperature` of the maps that begin with a prior.
        transform: of the source's scores.
        seeds: of the alignments.
        ig_steps: steps of the integrated gradients.
        scored_examples: pairs that scores are the mean of.
        scoring_batch_size: pairs in one pass of the attribution.
        examples: pairs of a fit, shared evenly by its training tasks.
        batch_size: pairs in one optimiser step.
        proportions: circuit sizes as shares of all nodes.
        measured_examples: test pairs per task.
        measuring_batch_size: pairs in one pass of the evaluation.
        random_rankings: of the target's nodes.
        attribution_ablation: what a node that is left out writes, for the scores.
        training_ablation: the same in training.
        evaluation_ablation: the same where circuits are measured.
    """

    fit: FitSettings
    map: str
    prior: Mapping[str, float]
    transform: str
    seeds: Sequence[int]
    ig_steps: int
    scored_examples: int
    scoring_batch_size: int | str
    examples: int
    batch_size: int
    proportions: tuple[float, ...]
    measured_examples: int
    measuring_batch_size: int | str
    random_rankings: int
    attribution_ablation: str = "counterfactual"
    training_ablation: str = "counterfactual"
    evaluation_ablation: str = "counterfactual"

    def changed(self, setting: str, value: Any) -> "Settings":
        """Return the settings with another value of one; `ablation` is all three.

        Raises:
            ValueError: the setting is unknown.
        """
        if setting == "ablation":
            return replace(self, **dict.fromkeys(ABLATED, value))
        if setting == "proportions":
            sizes, fit = tuple(value), self.fit
            if fit.proportions:  # trained for the sizes that are measured
                fit = replace(fit, proportions=sizes)
            return replace(self, fit=fit, proportions=sizes)
        if setting == "objective":
            sizes = self.proportions if value == "area" else ()
            fit = replace(self.fit, objective=value, proportions=sizes)
            return replace(self, fit=fit)
        if setting in _names(self.fit):
            return replace(self, fit=replace(self.fit, **{setting: value}))
        if setting in _names(self):
            return replace(self, **{setting: value})
        raise ValueError(f"setting {setting!r} is none that can be varied")


def _names(settings: object) -> set[str]:
    return {field.name for field in fields(settings)}


def run(
    study: Study, settings: Settings, setting: str, values: Mapping[str, Any]
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Run a study with every value of one setting, all else as it is set.

    Gold, random and aligned circuits, these in distribution and zero-shot under both
    protocols, and the control source-free.

    Args:
        study: the models, the tasks and the method.
        settings: the configured ones; the configured value is run as well.
        setting: a name of `Settings` or `FitSettings`, or `ablation`.
        values: by the name that each is listed under.

    Returns:
        The areas of all circuits, `SCHEMA`: the names of setting and value, whether it
        is the `configured` one, and what `tables.curves` tells of a circuit, source and
        method filled in for all. A value that the method cannot have is one row a task
        without areas. And the costs, see `passes.measured`.
    """
    variants = _variants(settings, setting, values)
    possible = {name: each for name, each in variants.items() if _can(study, each)}
    costs: list[dict[str, Any]] = []
    scores = {}
    for subject in (study.source, study.target):
        with measured("attribute", subject.name, subject.model) as cost:
            scores[subject.name] = _scores(subject, study.method, possible)
        costs.append(cost)
    of_source, of_target = scores[study.source.name], scores[study.target.name]
    models = {each.name: each.model for each in (study.source, study.target)}
    with measured_together("fit", models) as both:
        fitted = _alignments(study, possible, of_source)
    costs += both
    with measured("evaluate", study.target.name, study.target.model) as cost:
        rankings = {
            name: _rankings(study, each, of_source[name], of_target[name], fitted[name])
            for name, each in possible.items()
        }
        curves = _curves(study, possible, rankings)
    costs.append(cost)
    parts = [pl.DataFrame(schema=SCHEMA)]
    for name, each in variants.items():
        varied = {"setting": setting, "value": name, "configured": each == settings}
        areas = _areas(study, curves[name]) if name in possible else _empty(study)
        parts.append(_labelled(areas, study, varied))
    return pl.concat(parts), [cost for cost in costs if _ran(cost)]


def _variants(
    settings: Settings, setting: str, values: Mapping[str, Any]
) -> dict[str, Settings]:
    """Return the settings with every value; the configured ones first if not among."""
    variants = {n: settings.changed(setting, each) for n, each in values.items()}
    if settings in variants.values():
        return variants
    return {_configured_name(settings, setting): settings} | variants


def _configured_name(settings: Settings, setting: str) -> str:
    """Return what the configured value is listed under."""
    if setting == "ablation":
        kinds = dict.fromkeys(getattr(settings, name) for name in ABLATED)
        return ", ".join(kinds)
    of_fit = setting in _names(settings.fit)
    value = getattr(settings.fit if of_fit else settings, setting)
    if isinstance(value, int | float):
        return f"{value:g}"
    return value if isinstance(value, str) else "configured"


def _can(study: Study, settings: Settings) -> bool:
    """Tell whether the method can score nodes under the ablation; say so if not."""
    try:
        check_method(study.method, settings.attribution_ablation)
    except ValueError as error:
        log.warning("an empty cell: %s", error)
        return False
    return True


def _alike(variants: Variants, names: Sequence[str]) -> Iterator[dict[str, Settings]]:
    """Yield the variants in groups that agree in some of the settings."""
    groups: dict[tuple, dict[str, Settings]] = {}
    for name, settings in variants.items():
        key = tuple(getattr(settings, each) for each in names)
        groups.setdefault(key, {})[name] = settings
    yield from groups.values()


def _first(variants: Variants) -> Settings:
    return next(iter(variants.values()))


def _scores(subject: Subject, method: str, variants: Variants) -> dict[str, Scores]:
    """Score a model's nodes on every task, by variant; NaN without pairs."""
    found: dict[str, Scores] = {}
    for alike in _alike(variants, SCORED_BY):
        settings = _first(alike)
        of_task = {}
        for task, pairs in subject.pairs.items():
            log.info("scoring %s on %s", subject.name, task)
            chosen = select_pairs(pairs, "train", settings.scored_examples)
            of_task[task] = _task_scores(subject, method, chosen, settings)
        found |= dict.fromkeys(alike, of_task)
    return found


def _task_scores(
    subject: Subject, method: str, pairs: pl.DataFrame, settings: Settings
) -> np.ndarray:
    if pairs.is_empty():
        return np.full(len(subject.nodes), np.nan, np.float32)
    batches = fitting_batches(subject.model, pairs, settings.scoring_batch_size)
    result = attribute(
        subject.model,
        batches,
        method=method,
        ig_steps=settings.ig_steps,
        ablation=settings.attribution_ablation,
    )
    return result.mean().cpu().numpy()


def _alignments(
    study: Study, variants: Variants, scores: Mapping[str, Scores]
) -> dict[str, list[Alignment]]:
    """Fit the main map and source-free on every training set but `all`, by variant."""
    made: dict[str, list[Alignment]] = {name: [] for name in variants}
    for training_set in training_sets(study.tasks, study.families):
        if training_set == "all":
            continue
        tasks = training_tasks(training_set, study.tasks, study.families)
        # One training set at a time: what is prepared takes most of the memory.
        for alike in _alike(variants, PREPARED_BY):
            prepared, similarity = _prepared(study, _first(alike), tasks)
            for same in _alike(alike, ("fit", *SCORED_BY)):
                name, settings = next(iter(same.items()))
                sources = {
                    task: transformed(scores[name][task], settings.transform)
                    for task in tasks
                }
                log.info("fitting on %s with %s", training_set, name)
                data = (prepared, sources, similarity)
                fitted = _fitted(study, settings, training_set, *data)
                for each in same:
                    made[each] += fitted
    return made


def _prepared(
    study: Study, settings: Settings, tasks: Sequence[str]
) -> tuple[Preparations, np.ndarray | None]:
    """Run the target on the pairs of a training set; compare nodes if a map does."""
    source, target = study.source, study.target
    device, share = target.model.device, ceil(settings.examples / len(tasks))
    pairs = {t: select_pairs(target.pairs[t], "train", share) for t in tasks}
    batches = {
        task: pair_batches(each, settings.batch_size, device)
        for task, each in pairs.items()
    }
    prepared = prepare(target.model, batches, settings.training_ablation)
    if settings.map not in SIMILARITY_MAPS:
        return prepared, None
    of_source = {t: select_pairs(source.pairs[t], "train", share) for t in tasks}
    shared = [
        each
        for task in tasks
        for each in shared_batches(
            of_source[task], pairs[task], settings.batch_size, device
        )
    ]
    similarity = compare_nodes(source.model, target.model, shared) if shared else None
    return prepared, similarity


def _fitted(
    study: Study,
    settings: Settings,
    training_set: str,
    prepared: Preparations,
    sources: Scores,
    similarity: np.ndarray | None,
) -> list[Alignment]:
    """Fit one training set with every seed, as `artifacts.read_alignment` reads it."""
    nodes = {"source_nodes": study.source.nodes, "target_nodes": study.target.nodes}
    usable = {
        task: vector
        for task, vector in sources.items()
        if task in prepared.tasks and np.isfinite(vector).all()
    }
    priors = node_priors([settings.map], *nodes.values(), similarity, **settings.prior)
    labels = {"training_set": training_set, "tasks": list(usable), **nodes}
    labels |= {"maps": [settings.map], "transform": settings.transform}
    alignments = []
    asked = fits([settings.map], trained_controls(training_set, CONTROLS))
    for seed in settings.seeds:
        fitted = fit_maps(
            study.target.model,
            prepared,
            usable,
            settings.fit,
            asked,
            shape=(len(study.source.nodes), len(study.target.nodes)),
            seed=seed,
            priors=priors,
        )
        tensors = {
            tensor_name(kind, *each, [settings.map]): tensor
            for each, found in zip(asked, fitted, strict=True)
            for kind, tensor in found.items()
        }
        alignments.append(Alignment(tensors, labels | {"seed": seed}))
    return alignments


def _rankings(
    study: Study,
    settings: Settings,
    sources: Scores,
    gold: Scores,
    alignments: Sequence[Alignment],
) -> dict[str, pl.DataFrame]:
    """Rank the target's nodes by gold, random and projected scores, by task."""
    n_nodes = len(study.target.nodes)
    random = [
        {"kind": "random", "seed": s, "scores": random_scores(n_nodes, seed=s).tolist()}
        for s in range(settings.random_rankings)
    ]
    rankings = {}
    for task in study.tasks:
        known = [{"kind": "gold", "seed": None, "scores": gold[task].tolist()}, *random]
        seen_or_left_out = {
            f"only-{task}",
            *zero_shot_sets(task, study.tasks, study.families),
        }
        fitted = [
            each
            for each in alignments
            if each.metadata["training_set"] in seen_or_left_out
        ]
        aligned = projected_rankings(
            task,
            sources,
            gold,
            fitted,
            [],
            controls=CONTROLS,
            families=study.families,
        )
        schema = {"kind": pl.String} | {
            k: aligned.schema[k] for k in ("seed", "scores")
        }
        frames = [
            pl.DataFrame(known, schema=schema),
            aligned.with_columns(kind=pl.lit("aligned")),
        ]
        rankings[task] = pl.concat(frames, how="diagonal")
    return rankings


def _curves(
    study: Study,
    variants: Variants,
    rankings: Mapping[str, Mapping[str, pl.DataFrame]],
) -> dict[str, pl.DataFrame]:
    """Measure all rankings; circuits that variants have in common run once."""
    curves: dict[str, list[pl.DataFrame]] = {name: [] for name in variants}
    model, method = study.target.model, study.method
    for task, pairs in study.target.pairs.items():
        for alike in _alike(variants, MEASURED_BY):
            settings = _first(alike)
            chosen = select_pairs(pairs, "test", settings.measured_examples)
            labels = {"task": task, "method": method}
            labels |= {"source": study.source.name, "target": study.target.name}
            labels |= {"ablation": settings.evaluation_ablation}
            together = pl.concat(
                rankings[name][task].with_columns(
                    pl.lit(text).alias(label)
                    for label, text in ({"variant": name} | labels).items()
                )
                for name in alike
            )
            log.info("measuring %d rankings on %s", len(together), task)
            measures = evaluate_circuits(
                model,
                fitting_batches(model, chosen, settings.measuring_batch_size),
                together,
                settings.proportions,
                ablation=settings.evaluation_ablation,
            )
            for name in alike:
                curves[name].append(measures.filter(variant=name))
    return {name: pl.concat(frames) for name, frames in curves.items()}


def _areas(study: Study, curves: pl.DataFrame) -> pl.DataFrame:
    kinds = {kind: [curves.filter(kind=kind)] for kind in ("gold", "random", "aligned")}
    _, areas = summarise(**kinds, siblings=study.siblings, families=study.families)
    return areas


def _empty(study: Study) -> pl.DataFrame:
    rows = [{"kind": "gold", "regime": "gold", "task": task} for task in study.tasks]
    return pl.DataFrame(rows, schema=KEYS | AREAS)


def _labelled(
    areas: pl.DataFrame, study: Study, varied: Mapping[str, Any]
) -> pl.DataFrame:
    """Add the setting, the names of the pair and the method, and of the circuit."""
    labels = varied | {"source": study.source.name, "target": study.target.name}
    labels |= {"method": study.method}
    areas = areas.with_columns(
        pl.lit(each).alias(name) for name, each in labels.items()
    )
    return named_rows(areas, study.families).select(*SCHEMA)


def _ran(cost: Mapping[str, Any]) -> bool:
    return bool(cost["forwards"] or cost["forward_backwards"])
