"""Run a study with every value of one setting, and return the areas of all circuits."""

import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from circuit_transfer.circuits.methods import check_method
from circuit_transfer.circuits.passes import measured, measured_together
from circuit_transfer.study.sensitivity.alignments import fitted_alignments
from circuit_transfer.study.sensitivity.curves import faithfulness_curves, node_rankings
from circuit_transfer.study.sensitivity.scores import Scores, node_scores
from circuit_transfer.study.sensitivity.settings import (
    COMPARED,
    COMPARED_BY_SETTING,
    Compared,
    Settings,
    Variants,
    settings_by_value,
)
from circuit_transfer.study.sensitivity.subjects import Study
from circuit_transfer.tables.curves import KEYS, MEASURES, named_rows, summarise
from circuit_transfer.transfer.training_sets import study_protocols

log = logging.getLogger(__name__)

VARIED = {"setting": pl.String, "value": pl.String, "configured": pl.Boolean}
NAMED = {"circuit": pl.String, "protocol": pl.String}
SCHEMA = VARIED | KEYS | MEASURES | NAMED

Costs = list[dict[str, Any]]


def run(
    study: Study, settings: Settings, setting: str, values: Mapping[str, Any]
) -> tuple[pl.DataFrame, Costs]:
    """Run a study with every value of one setting, all others as configured.

    Gold circuits (of the target's own scores), random and aligned ones, these in
    distribution and zero-shot under both protocols, and the control source-free. Where
    the number of training families is varied, only what was trained without the task's
    family, and more controls, see `settings.COMPARED_BY_SETTING`.

    Args:
        study: the models, the tasks and the method.
        settings: the configured ones; the configured value is run as well.
        setting: a name of `Settings` or `FitSettings`, or `ablation`.
        values: by the name that each is listed under.

    Returns:
        The areas of all circuits, `SCHEMA`: the names of setting and value, whether it
        is the `configured` one, and the keys of a circuit in `tables.curves`, source
        and method filled in for all. A value that the method does not support is one
        row a task without areas. And the costs, see `passes.measured`.
    """
    variants = settings_by_value(settings, setting, values)
    supported = {n: each for n, each in variants.items() if _supports(study, each)}
    compared = COMPARED_BY_SETTING.get(setting, COMPARED)
    curves, costs = _curves(study, supported, compared)
    parts = [pl.DataFrame(schema=SCHEMA)]
    for name, each in variants.items():
        varied = {"setting": setting, "value": name, "configured": each == settings}
        areas = _areas(study, curves[name]) if name in supported else _empty(study)
        parts.append(_labelled(areas, study, varied))
    areas = pl.concat(parts)
    if compared.only_family_sets:
        # A task that is a family by itself has the same training set for both.
        *_, left_out = study_protocols(study.families)
        areas = areas.filter(pl.col("protocol").fill_null(left_out) == left_out)
    return areas, [cost for cost in costs if _has_passes(cost)]


def _curves(
    study: Study, variants: Variants, compared: Compared
) -> tuple[dict[str, pl.DataFrame], Costs]:
    """Score, fit and evaluate all variants; return the curves by variant, and costs."""
    models = {each.name: each.model for each in (study.source, study.target)}
    costs: Costs = []
    scores: dict[str, dict[str, Scores]] = {}
    for subject in (study.source, study.target):
        with measured("attribute", subject.name, subject.model) as cost:
            scores[subject.name] = node_scores(subject, study.method, variants)
        costs.append(cost)
    of_source, of_target = scores[study.source.name], scores[study.target.name]
    with measured_together("fit", models) as both:
        fitted = fitted_alignments(study, variants, of_source, compared)
    costs += both
    with measured("evaluate", study.target.name, study.target.model) as cost:
        rankings = {
            n: node_rankings(
                study, each, of_source[n], of_target[n], fitted[n], compared.controls
            )
            for n, each in variants.items()
        }
        curves = faithfulness_curves(study, variants, rankings)
    return curves, [*costs, cost]


def _supports(study: Study, settings: Settings) -> bool:
    """Return whether the method can score nodes under the ablation; log it if not."""
    try:
        check_method(study.method, settings.attribution_ablation)
    except ValueError as error:
        log.warning("a value is skipped, its cells stay empty: %s", error)
        return False
    return True


def _areas(study: Study, curves: pl.DataFrame) -> pl.DataFrame:
    kinds = {kind: [curves.filter(kind=kind)] for kind in ("gold", "random", "aligned")}
    _, areas = summarise(**kinds, siblings=study.siblings, families=study.families)
    return areas


def _empty(study: Study) -> pl.DataFrame:
    rows = [{"kind": "gold", "regime": "gold", "task": task} for task in study.tasks]
    return pl.DataFrame(rows, schema=KEYS | MEASURES)


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


def _has_passes(cost: Mapping[str, Any]) -> bool:
    return bool(cost["forwards"] or cost["forward_backwards"])
