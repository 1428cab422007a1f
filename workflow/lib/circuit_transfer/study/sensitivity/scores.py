"""Attribution scores of a model on every task, under every variant of the settings."""

import logging
from collections.abc import Mapping

import numpy as np
import polars as pl

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.study.sensitivity.settings import (
    Settings,
    Variants,
    first,
    groups,
)
from circuit_transfer.study.sensitivity.subjects import Subject

log = logging.getLogger(__name__)

# The settings that scores depend on.
SCORED_BY = ("ig_steps", "attribution_ablation")

Scores = Mapping[str, np.ndarray]


def node_scores(subject: Subject, method: str, variants: Variants) -> dict[str, Scores]:
    """Score a model's nodes on every task, by variant; NaN without pairs."""
    found: dict[str, Scores] = {}
    for group in groups(variants, SCORED_BY):
        settings = first(group)
        of_task = {}
        tasks = subject.pairs.items()
        for task, pairs in progress(tasks, len(tasks), "task"):
            log.info("scoring the nodes of %s on %s", subject.name, task)
            chosen = select_pairs(pairs, "train", settings.scored_examples)
            of_task[task] = _task_scores(subject, method, chosen, settings)
        found |= dict.fromkeys(group, of_task)
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
