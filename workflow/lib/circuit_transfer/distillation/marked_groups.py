"""Path patching by groups at the marked places of a task's prompts."""

from collections.abc import Mapping, Sequence
from itertools import chain

import polars as pl
import torch
from torch import nn

from circuit_transfer.distillation.critical_heads import head_count
from circuit_transfer.distillation.path_patching import (
    ANSWER,
    entity_tracking_groups,
    patch_groups,
)
from circuit_transfer.interventions import answer_logits
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.frame import MARKS

# Heads of the groups of Prakash et al. 2024, of which a number of heads has the shares.
SHARES = (20, 5, 10, 5)


def patch_marked(
    model: nn.Module,
    pairs: pl.DataFrame,
    batch_size: int | str,
    count: int | float,
    *,
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Find the heads of the groups of entity tracking, see `path_patching`.

    On the pairs that the model answers, since others can dominate the mean.

    Args:
        model: a causal language model.
        pairs: a frame of `PAIR_SCHEMA` with marks.
        batch_size: pairs in a pass, or `auto`.
        count: how many heads all groups have, see `critical_heads.head_count`; fewer
            where a head is in two groups.
        resume: see `path_patching.patch_groups`.

    Returns:
        See `path_patching.patch_groups`.

    Raises:
        ValueError: the pairs have no such marks, or the model answers none of them.
    """
    config = model.config
    total = head_count(count, config.num_hidden_layers * config.num_attention_heads)
    groups = entity_tracking_groups(group_counts(total))
    marked = _marked(pairs, [group.at for group in groups if group.at != ANSWER])
    # As the batches have them: by length, then in order.
    ordered = marked.sort(pl.col("clean_ids").list.len(), maintain_order=True)
    answered = ordered.filter(_answers(model, ordered, batch_size))
    if answered.is_empty():
        raise ValueError(
            f"the model answers none of {len(pairs)} pairs, on which path patching "
            "would find its heads; expected a model that knows the task, or "
            "distillation.heads.by: effect"
        )
    positions = {
        group.at: answered[f"at {group.at}"].to_list()
        for group in groups
        if group.at != ANSWER
    }
    batches = fitting_batches(model, answered, batch_size)
    return patch_groups(model, batches, positions, groups, resume=resume)


def group_counts(total: int) -> list[int]:
    """Return how many heads each group has of a number, at least one."""
    return [max(1, round(total * share / sum(SHARES))) for share in SHARES]


def _marked(pairs: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the pairs that have all marks, with the last position of each."""
    if MARKS not in pairs:
        raise ValueError(
            f"the pairs have no marks, expected {', '.join(names)}: those of the "
            "generator entity-tracking have them (or distillation.heads.by: effect)"
        )
    rows = pairs[MARKS].to_list()
    found = [
        pl.Series(f"at {name}", [_last(row, name) for row in rows], pl.Int64)
        for name in dict.fromkeys(names)
    ]
    return pairs.with_columns(found).drop_nulls([each.name for each in found])


def _last(marks: Sequence[Mapping], name: str) -> int | None:
    """Return the last position of a mark in a row."""
    named = (mark["positions"] for mark in marks if mark["name"] == name)
    return max(chain.from_iterable(named), default=None)


def _answers(model: nn.Module, pairs: pl.DataFrame, batch_size: int | str) -> pl.Series:
    """Return whether the model answers each pair."""
    # How many pairs fit is tried with gradients.
    batches = fitting_batches(model, pairs, batch_size)
    with torch.inference_mode():
        right = [batch.correct(answer_logits(model, batch.clean)) for batch in batches]
    return pl.Series([x for each in right for x in each.tolist()], dtype=pl.Boolean)
