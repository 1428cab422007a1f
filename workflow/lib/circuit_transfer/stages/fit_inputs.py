"""What fits of nodes and of edges read alike: their training tasks, and priors."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.comparing import known_correspondences
from circuit_transfer.transfer.correspondences import node_priors
from circuit_transfer.transfer.maps import needed_correspondences
from circuit_transfer.transfer.shared_prompts import shared_batches

log = logging.getLogger(__name__)
Costs = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainingTask:
    """A task that maps are trained on.

    Attributes:
        scores: of the source's nodes or edges, `(n,)`.
        pairs: for the target.
        source_pairs: for the source, None where they are not needed.
    """

    scores: np.ndarray
    pairs: pl.DataFrame
    source_pairs: pl.DataFrame | None


def read_training_tasks(
    tasks: Sequence[str],
    scores_paths: Iterable[Path | str],
    pairs_paths: Iterable[Path | str],
    source_pairs_paths: Iterable[Path | str],
    *,
    examples: int,
    read_scores: Callable[[Path | str], np.ndarray],
) -> dict[str, TrainingTask]:
    """Read the training tasks that can be used, each with its share of the examples.

    Args:
        tasks: their names.
        scores_paths: of the source's scores, by task.
        pairs_paths: of the pairs for the target, by task.
        source_pairs_paths: of those for the source, by task, or none.
        examples: how many pairs all tasks have together.
        read_scores: reads scores `(n,)`.
    """
    share = ceil(examples / len(tasks))
    source_paths = [*source_pairs_paths] or [None] * len(tasks)
    paths = zip(scores_paths, pairs_paths, source_paths, strict=True)
    usable = {}
    for task, (scores_path, *both) in zip(tasks, paths, strict=True):
        scores = read_scores(scores_path)
        pairs, source_pairs = (
            path and select_pairs(read_frame(path), "train", share) for path in both
        )
        if np.isfinite(scores).all() and len(pairs):
            usable[task] = TrainingTask(scores, pairs, source_pairs)
    log.info("training on %s, %d pairs each", ", ".join(usable) or "nothing", share)
    return usable


def known_priors(
    maps: Sequence[str],
    models: Sequence[Mapping[str, Any]],
    model: nn.Module,
    data: Mapping[str, TrainingTask],
    prior: Mapping[str, Any],
    batch_size: int,
) -> tuple[dict[str, np.ndarray], Costs]:
    """Return the prior of every map that has one, and what finding them cost.

    Args:
        maps: names of the maps.
        models: descriptions of source and target.
        model: the target.
        data: the training tasks.
        prior: settings of `correspondences.node_priors`.
        batch_size: pairs at once.
    """
    needed = needed_correspondences(maps, prior["correspondence"])
    known, costs = known_correspondences(
        needed, *models, model, lambda: _shared(data, batch_size, model.device)
    )
    nodes = [each["nodes"] for each in models]
    return node_priors(maps, *nodes, known, **prior), costs


def _shared(
    data: Mapping[str, TrainingTask], batch_size: int, device: torch.device
) -> list[tuple[PairBatch, PairBatch]]:
    """Return batches of the pairs of all training tasks that both models have."""
    return [
        batches
        for task in data.values()
        for batches in shared_batches(task.source_pairs, task.pairs, batch_size, device)
    ]
