"""The two models of a transfer and a task's pairs for both, as stitching needs them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.shared_prompts import shared_batches, size_for_both

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelPair:
    """A source and a target with the training pairs that both can be compared on.

    Attributes:
        source: its description.
        target: its description.
        models: both, by name, the source first.
        prompts: batches of the pairs that both models cut into equally many tokens.
        batch_size: how many pairs a batch has at most.
    """

    source: dict[str, Any]
    target: dict[str, Any]
    models: dict[str, nn.Module]
    prompts: Sequence[tuple[PairBatch, PairBatch]]
    batch_size: int

    def n_pairs(self) -> int:
        """Return how many pairs there are in all."""
        return sum(len(batch) for batch, _ in self.prompts)


def read_model_pair(
    model_paths: Sequence[Path | str],
    pairs_paths: Sequence[Path | str],
    *,
    examples: int,
    batch_size: int | str,
) -> ModelPair:
    """Load two models, and read a task's training pairs for both.

    Args:
        model_paths: the descriptions of source and target.
        pairs_paths: the task's pairs, tokenized for source and target.
        examples: how many pairs at most.
        batch_size: how many of them at once, or `auto`.
    """
    source, target = map(read_description, model_paths)
    models = {each["model"]: load_described(each) for each in (source, target)}
    pairs = [select_pairs(read_frame(p), "train", examples) for p in pairs_paths]
    batch_size = size_for_both([*models.values()], pairs, batch_size)
    device = models[target["model"]].device
    prompts = shared_batches(*pairs, batch_size, device, aligned=True)
    if not prompts:
        log.warning("no training pair that both models cut into equally many tokens")
    return ModelPair(source, target, models, prompts, batch_size)
