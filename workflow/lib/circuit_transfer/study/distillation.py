"""What a study distils: its teacher and student, and the settings of every stage."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from circuit_transfer.circuits.methods import METHODS
from circuit_transfer.distillation.frames import EFFECT, PATHS
from circuit_transfer.distillation.settings import (
    DistillationSettings,
    distillation_settings,
)
from circuit_transfer.distillation.variants import (
    CKA,
    EVERYTHING,
    LOGITS,
    VARIANTS,
    Variant,
)
from circuit_transfer.models.edges import QUERY_HEAD
from circuit_transfer.study.learning import attributing_methods
from circuit_transfer.study.settings import (
    attribution_settings,
    edge_attribution_settings,
)

SECTION = "distillation"
# Keys of the section that are settings of a training.
TRAINING = ("preset", *DistillationSettings.__dataclass_fields__)
# Settings that only some variants have, by what tells whether a variant does.
OF_CKA = ("cka_weight", "estimator", "queue")
OF_LOGITS = ("temperature",)
OF_HEADS = ("freeze_kv",)


def distillations(config: Mapping) -> list[dict[str, list]]:
    """Return what is distilled, by wildcard the names: of one pair of models, or none.

    Args:
        config: a valid configuration, defaults filled in.
    """
    section = config.get(SECTION, {})
    if section.get("teacher") is None:
        return []
    return [
        {
            "teacher": [section["teacher"]],
            "student": [section["student"]],
            "task": distilled_tasks(config),
            "matching": all_matchings(config),
            "variant": section["objectives"],
            "seed": section["seeds"],
        }
    ]


def distilled_tasks(config: Mapping) -> list[str]:
    """Return the tasks that students are trained on."""
    return config[SECTION]["tasks"] or config["study"]["tasks"]


def all_matchings(config: Mapping) -> list[str]:
    """Return the matching that students are trained by, then those it is compared with.

    Each once.
    """
    section = config[SECTION]
    return list(dict.fromkeys([section["matching"]["method"], *section["compared"]]))


def training_settings(config: Mapping) -> DistillationSettings:
    """Return the settings of the trainings, those of the preset filled in.

    Raises:
        ValueError: one is out of its range.
    """
    section = config[SECTION]
    return distillation_settings({key: section[key] for key in TRAINING})


def unused_settings(variant: Variant) -> tuple[str, ...]:
    """Return the settings of a training that mean nothing to a variant."""
    unused = () if CKA in variant.terms else OF_CKA
    unused += () if LOGITS in variant.terms else OF_LOGITS
    return unused + (OF_HEADS if variant.trains == EVERYTHING else ())


def distilling_settings(config: Mapping, variant: str) -> dict[str, Any]:
    """Return how students are trained by a variant: the settings that it has.

    A change of another one trains nothing again.
    """
    unused = unused_settings(VARIANTS[variant])
    settings = asdict(training_settings(config))
    return {key: value for key, value in settings.items() if key not in unused}


def held_out_settings(config: Mapping) -> dict[str, Any]:
    """Return which test pairs a student is measured on, and how many at once."""
    return {key: config["evaluation"][key] for key in ("examples", "batch_size")}


def critical_settings(config: Mapping) -> dict[str, Any]:
    """Return how the critical heads of a model are found."""
    heads = config[SECTION]["heads"]
    return {**heads, "batch_size": config["attribution"]["batch_size"]}


def matching_settings(config: Mapping, matching: str) -> dict[str, Any]:
    """Return how heads are matched: the settings that a matching has."""
    section = config[SECTION]
    own = {"assignment": section["matching"]["assignment"]}
    if matching == "impact":
        own |= {key: section["matching"][key] for key in ("baseline", "scale")}
    if matching == "cka":
        own |= {
            "examples": section["heads"]["examples"],
            "batch_size": config["attribution"]["batch_size"],
            "positions": training_settings(config).positions,
        }
    return own


def measuring_settings(config: Mapping) -> dict[str, Any]:
    """Return how students are measured: by what, on what, and until which accuracy.

    The first methods of nodes and of edges, if the study has any, say whether a
    student's circuit has come nearer to the teacher's.
    """
    methods, edge_methods = config["study"]["methods"], attributing_methods(config)
    return {
        "held_out": held_out_settings(config),
        "positions": training_settings(config).positions,
        "accuracy": config[SECTION]["accuracy"],
        "node_scoring": {
            method: attribution_settings(config, method) for method in methods[:1]
        },
        "edge_scoring": {
            method: _without_files(edge_attribution_settings(config, method))
            for method in edge_methods[:1]
            # Edges of two models correspond by their query heads.
            if config["attribution"]["kv"] == QUERY_HEAD
        },
    }


def _without_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how edges are scored, without what is saved of it."""
    return {key: each for key, each in settings.items() if key != "keep_examples"}


def scores_edges(criterion: str) -> bool:
    """Return whether critical heads are found by a method of edges."""
    is_method = criterion not in (EFFECT, PATHS)
    return is_method and METHODS[criterion].scores == "edges"


def scores_nodes(criterion: str) -> bool:
    """Return whether critical heads are found by a method of nodes."""
    is_method = criterion not in (EFFECT, PATHS)
    return is_method and METHODS[criterion].scores == "nodes"
