"""Features that heads are compared by: their activations `z`, a row per sample.

`z` is the input of the output projection, as wide as a head. Batches hold prompts of
one length without padding (see `prompts.batches`), so that every row is of a token.
"""

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.distillation.settings import (
    ALL_POSITIONS,
    LEAST_SAMPLES,
    POSITIONS,
)
from circuit_transfer.interventions import run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.nodes import head_place
from circuit_transfer.prompts.batches import PairBatch

log = logging.getLogger(__name__)


def head_features(sites: Sequence[Tensor], heads: Sequence[str], at: str) -> Tensor:
    """Return the activations of heads in a pass, at least float32.

    Args:
        sites: activations of all sites, see `interventions.captured`; part of the
            autograd graph, if there is one.
        heads: names of the heads, at least one.
        at: whose positions: of the `answer`, a row per example, or `all`, the positions
            of an example side by side.

    Returns:
        `(heads, rows, d_head)`.

    Raises:
        ValueError: there is no such choice of positions, or no such head.
    """
    if at not in POSITIONS:
        raise ValueError(f"positions {at!r}: expected one of {', '.join(POSITIONS)}")
    positions = slice(None) if at == ALL_POSITIONS else slice(-1, None)
    found = []
    for name in heads:
        layer, head = head_place(name)
        if 2 * layer >= len(sites) or head >= sites[2 * layer].shape[2]:
            raise ValueError(
                f"{name} is not a head of the model, which has {len(sites) // 2} "
                f"layers of {sites[0].shape[2]} heads"
            )
        z = sites[2 * layer][:, positions, head].flatten(0, 1)
        found.append(z.float() if z.dtype.itemsize < 4 else z)
    # The layers of a model may be on several devices.
    return torch.stack([each.to(found[0].device) for each in found])


def run_heads(
    model: nn.Module, batches: Sequence[PairBatch], heads: Sequence[str], at: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield answer logits and the activations of heads on every batch's clean prompts.

    Args:
        model: a causal language model.
        batches: the prompts; those of two models must be the same, in the same batches,
            see `transfer.shared_prompts.shared_batches`.
        heads: names of the heads, at least one.
        at: see `head_features`.

    Yields:
        `(batch, vocabulary)` and `(heads, rows, d_head)`.

    Raises:
        ValueError: see `head_features`.
    """
    for batch in progress(batches, len(batches), "activations of batch"):
        logits, sites = run_captured(model, batch.clean, batch.prefix)
        yield logits, head_features(sites, heads, at)


def run_features(
    model: nn.Module, batches: Sequence[PairBatch], heads: Sequence[str], at: str
) -> list[Tensor]:
    """Return the activations of heads on the host, by batch `(heads, rows, d_head)`.

    Arguments and errors as in `run_heads`.
    """
    return [found.cpu() for _, found in run_heads(model, batches, heads, at)]


def enough_samples(
    batches: Sequence[tuple[PairBatch, PairBatch]], positions: str, estimator: str
) -> bool:
    """Return whether prompts have enough features for CKA; log a warning if not.

    Args:
        batches: the prompts of two models.
        positions: see `head_features`.
        estimator: of CKA, see `cka.cka`.
    """
    samples = sum(
        own.clean.numel() if positions == ALL_POSITIONS else len(own)
        for own, _ in batches
    )
    least = LEAST_SAMPLES[estimator]
    if samples < least:
        log.warning(
            "no CKA: the %s one takes at least %d samples, and the usable pairs have "
            "%d; use more pairs, or distillation.positions: %s",
            estimator,
            least,
            samples,
            ALL_POSITIONS,
        )
    return samples >= least


def check_positions(
    batches: Sequence[tuple[PairBatch, PairBatch]], positions: str
) -> None:
    """Check that the features of two models on the same prompts correspond.

    Raises:
        ValueError: a prompt has another number of tokens in the other model, but the
            features are those of all positions.
    """
    lengths = [(own.clean.shape[1], other.clean.shape[1]) for own, other in batches]
    unequal = [pair for pair in lengths if pair[0] != pair[1]]
    if positions == ALL_POSITIONS and unequal:
        raise ValueError(
            f"distillation.positions: {ALL_POSITIONS} needs prompts of equally many "
            f"tokens in both models, but some have {unequal[0][0]} in the student and "
            f"{unequal[0][1]} in the teacher; use positions: answer"
        )
