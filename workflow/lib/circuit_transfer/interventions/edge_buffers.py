"""The differences of writers between two runs, in one buffer, and what readers read.

A reader reads the residual stream of the ablated run plus the differences of the
writers of its kept edges, running minus ablated: for all readers of a layer together
that is one product over the buffer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.models.architectures import Norm


@dataclass(frozen=True)
class SumNorm:
    """A norm over the sum of a layer's heads, in families that have one.

    A reader adds the norm of the sum of the heads that it reads, not of all.

    Attributes:
        first: slot of the layer's first head in a buffer.
        last: slot after its last one.
        norm: the norm.
        ablated: the sum in the ablated run, `(batch, position, d_model)`.
    """

    first: int
    last: int
    norm: Norm
    ablated: Tensor


class Buffer:
    """Differences of some writers, of all circuits that run in one pass.

    Slot 0 is for the stream of the ablated run, which every reader reads. The writers
    follow in order of computation, so that those before a reader come first.
    """

    def __init__(self, writers: np.ndarray, rows: tuple[int, int, int], like: Tensor):
        """Make room for the differences of writers.

        Args:
            writers: their numbers, ascending.
            rows: numbers of circuits, prompts and positions.
            like: a tensor of the same width, type and device.
        """
        self.writers = writers
        self.rows = rows
        shape = (1 + len(writers), *rows, like.shape[-1])
        self.values = like.new_empty(shape)
        self.norms: list[SumNorm] = []

    def slots(self, writers: range) -> tuple[int, int]:
        """Return the first slot of consecutive writers, and that after their last."""
        first, last = np.searchsorted(self.writers, [writers.start, writers.stop])
        return 1 + int(first), 1 + int(last)

    def write(self, writers: np.ndarray, differences: Tensor) -> None:
        """Store the differences of those writers that have a slot.

        Args:
            writers: their numbers, ascending.
            differences: `(writers, circuits, batch, position, d_model)`, or what
                broadcasts with it; of more positions than stored the last ones count.
        """
        own = np.flatnonzero(np.isin(writers, self.writers))
        slots = 1 + np.searchsorted(self.writers, writers[own])
        for slot, index in zip(slots.tolist(), own.tolist(), strict=True):
            self.values[slot] = differences[index][..., -self.rows[2] :, :]

    def read(self, kept: np.ndarray, stream: Tensor) -> Tensor:
        """Return what readers read.

        Args:
            kept: of every circuit the edges from the writers before the readers, bool
                `(circuits, n_writers, readers)`.
            stream: of the ablated run where they read it, `(batch, position,
                d_model)`; a single row stands for all prompts.

        Returns:
            `(readers, circuits * batch * position, d_model)`.
        """
        count = int(np.searchsorted(self.writers, kept.shape[1]))
        values = self.values[: 1 + count]
        values[0] = stream
        columns = _with_stream(kept[:, self.writers[:count]]).swapaxes(1, 2)
        weights = torch.from_numpy(columns).to(values)
        plain = weights
        norms = [each for each in self.norms if each.last <= 1 + count]
        if norms:
            plain = weights.clone()
            for each in norms:
                plain[..., each.first : each.last] = 0
        found = _product(plain, values)
        for each in norms:
            heads = slice(each.first, each.last)
            found += _normed_sum(each, weights[..., heads], values[heads])
        return found.flatten(1, -2)


def _with_stream(kept: np.ndarray) -> np.ndarray:
    ones = np.ones((len(kept), 1, kept.shape[2]), bool)
    return np.concatenate([ones, kept], axis=1)


def _product(weights: Tensor, values: Tensor) -> Tensor:
    """Return weighted sums of slots, `(readers, circuits, batch, position, d_model)`.

    Args:
        weights: `(circuits, readers, slots)`.
        values: `(slots, circuits, batch, position, d_model)`.
    """
    circuits, readers, _ = weights.shape
    found = values.new_empty(readers, *values.shape[1:])
    flat, into = values.flatten(2), found.flatten(2)
    for circuit in range(circuits):
        torch.mm(weights[circuit], flat[:, circuit], out=into[:, circuit])
    return found


def _normed_sum(each: SumNorm, weights: Tensor, heads: Tensor) -> Tensor:
    """Return by how much the norm of the heads that are read differs from the ablated.

    Args:
        each: the norm.
        weights: as in `_product`, of the heads.
        heads: their differences, likewise.
    """
    ablated = each.ablated.to(heads.device)
    return normed(_product(weights, heads) + ablated, each.norm) - normed(
        ablated, each.norm
    )


def normed(values: Tensor, norm: Norm) -> Tensor:
    """Return the norm of values `(..., d_model)`."""
    mean, scale = statistics(values, norm)
    centred = values if mean is None else values - mean
    found = centred * scale * norm.weight.to(values)
    return found if norm.bias is None else found + norm.bias.to(values)


def statistics(values: Tensor, norm: Norm) -> tuple[Tensor | None, Tensor]:
    """Return the mean that a norm subtracts, if any, and what it multiplies by.

    Both `(..., 1)`, of the type of the values.
    """
    width = values.shape[-1]
    wide = torch.promote_types(values.dtype, torch.float32)
    if norm.centred:
        variance, mean = torch.var_mean(values.to(wide), -1, correction=0, keepdim=True)
        return mean.to(values), (variance + norm.eps).rsqrt().to(values)
    size = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=wide)
    return None, (size.square() / width + norm.eps).rsqrt().to(values)
