"""Controls of carried gradients: other gradients of the source in place of the task's.

Those of other examples of the same task, and those of the same model on another task.
See `carried_gradients` for what is controlled.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import PairBatch, cacheable, shortened
from circuit_transfer.transfer.carried_gradients import stream_gradients


def shuffled(gradients: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Give every example the gradients of another one of its batch.

    Arguments by batch, `(points, batch, position, d_model)`: prompts of one length.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        each[:, torch.randperm(each.shape[1], generator=generator)]
        for each in gradients
    ]


def other_gradients(
    model: nn.Module,
    gradients: Sequence[Tensor],
    batches: Sequence[PairBatch],
    steps: int,
) -> list[Tensor]:
    """Replace gradients by those of the same model on another task's pairs.

    Args:
        model: the model.
        gradients: the task's own, by batch; see `carried_gradients.stream_gradients`.
        batches: the other task's pairs, for the same model.
        steps: as in `stream_gradients`.

    Returns:
        As `in_place_of`.
    """
    needed = max(each.shape[2] for each in gradients)
    found = []
    for batch in progress(batches, len(batches), "batch of another task"):
        spare = max(0, batch.clean.shape[1] - needed)
        length = cacheable(model, batch, min(spare, batch.shared()))
        rest = shortened(model, batch, length)
        found.append(stream_gradients(model, rest, steps))
    return in_place_of(gradients, found)


def in_place_of(gradients: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Replace gradients by the mean of others at the same distance from the end.

    Both by batch, `(points, batch, position, d_model)`. Where prompts are longer than
    all others, the gradient is zero.
    """
    longest = max(each.shape[2] for each in others)
    total = torch.zeros_like(others[0][:, 0, :1]).repeat(1, longest, 1)
    counts = torch.zeros(longest, 1, device=total.device)
    for each in others:
        total[:, -each.shape[2] :] += each.sum(1)
        counts[-each.shape[2] :] += each.shape[1]
    mean = total / counts.clamp(min=1)
    replaced = []
    for each in gradients:
        common = min(longest, each.shape[2])
        other = torch.zeros_like(each)
        other[:, :, -common:] = mean[:, None, -common:]
        replaced.append(other)
    return replaced
