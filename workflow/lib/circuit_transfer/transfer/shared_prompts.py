"""Prompts that two models share: the same pairs, in the same batches.

Direct comparisons of two models, of node outputs or residual streams, are made on
these.
"""

from collections.abc import Sequence

import polars as pl
import torch
from torch import nn

from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import (
    PairBatch,
    cacheable,
    fitting_batch_size,
    pair_batches,
    shortened,
)


def shared_batches(
    source: pl.DataFrame,
    target: pl.DataFrame,
    batch_size: int,
    device: torch.device | str,
    *,
    aligned: bool = False,
) -> list[tuple[PairBatch, PairBatch]]:
    """Pair up batches of the prompts that are tokenized for both models.

    Args:
        source: tokenized pairs of a task for one model.
        target: the same for another model; `row` identifies the prompts.
        batch_size: prompts in one batch.
        device: where to put them.
        aligned: take only prompts of equally many tokens in both models.
    """
    lengths = pl.col("clean_ids").list.len()
    both = source.select("row", source=lengths).join(
        target.select("row", target=lengths), on="row"
    )
    if aligned:
        both = both.filter(pl.col("source") == pl.col("target"))
    batches = []
    for _, rows in sorted(both.group_by("source", "target")):
        shared = [
            pairs.join(rows.select("row"), on="row").sort("row")
            for pairs in (source, target)
        ]
        of_models = (pair_batches(pairs, batch_size, device) for pairs in shared)
        batches += zip(*of_models, strict=True)
    return batches


def size_for_both(
    models: Sequence[nn.Module], pairs: Sequence[pl.DataFrame], batch_size: int | str
) -> int:
    """Return the number of pairs in a batch that several models run.

    For `auto`, the most that all of them can run, each on its own frame of pairs.
    """
    if batch_size != "auto":
        return batch_size
    return min(map(fitting_batch_size, models, pairs))


def shorten_both(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> list[tuple[PairBatch, PairBatch]]:
    """Run the common first tokens of every batch once, and return the other positions.

    In a causal model nothing changes before the first corrupted token. Both models
    leave out equally many tokens, so that the others correspond one by one.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, of equally many tokens in both models; see
            `shared_batches`.
    """
    rests = []
    for a, b in progress(prompts, len(prompts), "shortening batch"):
        length = cacheable(source, a, min(a.shared(), b.shared()))
        length = cacheable(target, b, length)
        rests.append((shortened(source, a, length), shortened(target, b, length)))
    return rests
