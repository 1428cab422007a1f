"""Students of a teacher whose numbers, means and differences are known."""

import polars as pl

from circuit_transfer.distillation.frames import (
    AFTER,
    BEFORE,
    MEASURED_COLUMNS,
    TEACHER_STATE,
)
from circuit_transfer.distillation.variants import VARIANTS

TEACHER, STUDENT, TASKS, SEEDS = "big_model", "small", ["boxes", "beliefs"], range(5)
STEPS, ACCURACY = 200, 0.9
# After training on the first task, of the middle seed.
LEVELS = {
    "ce-heads": {"accuracy": 0.80, "circuit_accuracy": 0.60, "cka": 0.3},
    "matched-cka": {"accuracy": 0.90, "circuit_accuracy": 0.75, "cka": 0.7},
    "random-cka": {"accuracy": 0.75, "circuit_accuracy": 0.50, "cka": 0.2},
    "shuffled-cka": {"accuracy": 0.80, "circuit_accuracy": 0.60, "cka": 0.3},
    "cka-only": {"accuracy": 0.55, "circuit_accuracy": 0.50, "cka": 0.8},
    "fine-tune": {"accuracy": 0.92, "circuit_accuracy": 0.55, "cka": 0.3},
    "logits": {"accuracy": 0.85, "circuit_accuracy": 0.60, "cka": 0.4},
    "random-heads": {"accuracy": 0.70, "circuit_accuracy": 0.50, "cka": 0.3},
}
TO_ACCURACY = {"matched-cka": 60, "fine-tune": 100, "logits": 140}


def of_seed(variant, task, seed):
    """Seeds differ by .01 in accuracy; the second task is .1 harder."""
    away = 0.01 * (seed - 2) - 0.1 * TASKS.index(task)
    levels = LEVELS[variant]
    steps = TO_ACCURACY.get(variant)
    return {
        "accuracy": levels["accuracy"] + away,
        "right_above_wrong": levels["accuracy"] + away,
        "task_loss": 1 - levels["accuracy"] - away,
        "circuit_accuracy": levels["circuit_accuracy"] + away,
        "faithfulness": 0.8,
        "cka": levels["cka"],
        "node_correlation": levels["cka"] + 0.1,
        "edge_correlation": levels["cka"] - 0.1,
        "steps_to_accuracy": None if steps is None else steps + 10 * seed,
        "seconds": 10.0,
        "passes": 1000,
    }


def rows(variant, task):
    """The rows of the file of one variant and task."""
    other = next(each for each in TASKS if each != task)
    names = {"teacher": TEACHER, "student": STUDENT, "task": task}
    for evaluated, right in ((task, 0.95), (other, 0.9)):
        labels = {**names, "state": TEACHER_STATE, "evaluated_task": evaluated}
        yield labels | {"accuracy": right, "task_loss": 1 - right}
    for seed in SEEDS:
        own = {**names, "variant": variant, "seed": seed, "evaluated_task": task}
        before = {"accuracy": 0.5, "circuit_accuracy": 0.4, "cka": 0.1}
        yield own | {"state": BEFORE} | before
        yield own | {"state": AFTER} | of_seed(variant, task, seed)
        elsewhere = own | {"evaluated_task": other, "task_loss": 9.0}
        yield elsewhere | {"state": BEFORE, "accuracy": 0.6}
        lost = 0.4 if variant == "fine-tune" else 0.55
        yield elsewhere | {"state": AFTER, "accuracy": lost}


def measures(variants=tuple(VARIANTS), tasks=tuple(TASKS)):
    found = [row for v in variants for task in tasks for row in rows(v, task)]
    empty = dict.fromkeys(MEASURED_COLUMNS)
    return pl.DataFrame([empty | row for row in found], MEASURED_COLUMNS)
