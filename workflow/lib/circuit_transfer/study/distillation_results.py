"""What the tables and figures of distillation, and the page, are of."""

from collections.abc import Mapping
from typing import Any

from circuit_transfer.study.distillation import (
    SECTION,
    all_matchings,
    distilled_tasks,
    training_settings,
)
from circuit_transfer.study.paths import path
from circuit_transfer.study.study import Study


def student_settings(config: Mapping, *keys: str) -> dict[str, Any]:
    """Return what tables and figures of students take, by these names.

    `methods` are the matchings, that of the training first; `steps` those of a
    training, and `accuracy` that until which they are counted.
    """
    section = config[SECTION]
    values = {
        "tasks": distilled_tasks(config),
        "variants": section["objectives"],
        "seeds": section["seeds"],
        "methods": all_matchings(config),
        "accuracy": section["accuracy"],
        "steps": training_settings(config).steps,
    }
    return {key: values[key] for key in keys}


def summarised_students(study: Study) -> list[str]:
    """Return the statistics of students that the page is made from."""
    return study.every(path("distillation-statistics"))


def student_names(study: Study) -> dict[str, Any]:
    """Return what the page names of a distillation; nothing if there is none."""
    if not study.distillations:
        return {}
    pairs = [
        (teacher, student)
        for each in study.distillations
        for teacher, student in zip(each["teacher"], each["student"], strict=True)
    ]
    own = student_settings(study.config, "variants", "accuracy", "steps")
    return {"distilled": pairs, **own}
