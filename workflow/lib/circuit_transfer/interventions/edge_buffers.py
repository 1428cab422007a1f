"""The differences of writers between two runs, in one buffer, and what readers read.

A reader reads the residual stream of the ablated run plus the differences of the
writers of its kept edges, running minus ablated: for all readers of a layer together
that is one product over the buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.models.architectures import Norm

# How many numbers of a product take as long as an addition of one, since an addition
# reads and writes its result.
ADDITION = 4


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
        self.values = self.room(
            "values", (1 + len(writers), *rows, like.shape[-1]), like
        )
        self.norms: list[SumNorm] = []

    def room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory for values of that name, with whatever numbers are in it."""
        return like.new_empty(shape)

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

    def write_products(
        self, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> Tensor:
        """Store products, of writers that all have a slot; return what is stored.

        Args:
            writers: their numbers, ascending.
            outputs: `(writers, circuits * batch * position, d_head)`.
            weights: `(writers, d_head, d_model)`.
        """
        first, last = np.searchsorted(self.writers, [writers[0], writers[-1] + 1])
        room = self.values[1 + first : 1 + last]
        if len(room) == len(writers) and room.device == weights.device:
            torch.bmm(outputs, weights, out=room.flatten(1, -2))
            return room
        products = torch.bmm(outputs, weights).unflatten(1, self.rows)
        self.write(writers, products)
        return products

    def columns(self, kept: np.ndarray) -> np.ndarray:
        """Return which slots readers read.

        Args:
            kept: of every circuit the edges from the writers before the readers, bool
                `(circuits, n_writers, readers)`.

        Returns:
            Bool `(circuits, slots, readers)`, without slot 0.
        """
        count = np.searchsorted(self.writers, kept.shape[1])
        return kept[:, self.writers[:count]]

    def read(self, columns: np.ndarray, stream: Tensor) -> Tensor:
        """Return what readers read.

        Args:
            columns: see `columns`.
            stream: of the ablated run where they read it, `(batch, position,
                d_model)`; a single row stands for all prompts.

        Returns:
            `(readers, circuits * batch * position, d_model)`.
        """
        values = self.values[: 1 + columns.shape[1]]
        values[0] = stream
        first = np.ones((len(columns), 1, columns.shape[2]), bool)
        kept = np.concatenate([first, columns], axis=1).swapaxes(1, 2)
        norms = [each for each in self.norms if each.last <= len(values)]
        found = _sums(_outside(kept, norms), values)
        for each in norms:
            heads = slice(each.first, each.last)
            found += _normed_sum(each, kept[..., heads], values[heads])
        return found.flatten(1, -2)


def distinct(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every different column of readers once, and which each reader has.

    Args:
        columns: `(circuits, slots, readers)`.

    Returns:
        Columns in the order of their first readers, and the number of each reader's.
    """
    packed = np.packbits(columns.reshape(-1, columns.shape[2]), axis=0)
    numbers: dict[bytes, int] = {}
    keys = [column.tobytes() for column in packed.T]
    which = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    first = np.unique(which, return_index=True)[1]
    return columns[..., first], which


def _outside(kept: np.ndarray, norms: Sequence[SumNorm]) -> np.ndarray:
    """Return which slots are read as they are, not through a norm over their sum."""
    if not norms:
        return kept
    plain = kept.copy()
    for each in norms:
        plain[..., each.first : each.last] = False
    return plain


def _sums(kept: np.ndarray, values: Tensor) -> Tensor:
    """Return sums of slots, `(readers, circuits, batch, position, d_model)`.

    Args:
        kept: which slots, bool `(circuits, readers, slots)`.
        values: `(slots, circuits, batch, position, d_model)`.
    """
    found = values.new_empty(kept.shape[1], *values.shape[1:])
    flat, into = values.flatten(2), found.flatten(2)
    for circuit, own in enumerate(kept):
        _sum_slots(own, flat[:, circuit], into[:, circuit])
    return found


def _sum_slots(kept: np.ndarray, values: Tensor, into: Tensor) -> None:
    """Add up few slots one by one, and take few from the sum of all, on a CPU.

    Args:
        kept: bool `(readers, slots)`.
        values: `(slots, n)`.
        into: where to store the sums, `(readers, n)`.
    """
    counts = ((kept, 0), (~kept, 2 * kept.shape[1]))
    few, most = (ADDITION * each.sum() + extra < kept.size for each, extra in counts)
    if values.device.type != "cpu" or not (few or most):
        torch.mm(torch.from_numpy(kept).to(values), values, out=into)
        return
    if few:
        into.zero_()
    else:
        torch.mm(values.new_ones(1, len(values)), values, out=into[:1])
        into[1:] = into[0]
    for reader, own in zip(into, kept if few else ~kept, strict=True):
        for slot in np.flatnonzero(own).tolist():
            reader.add_(values[slot], alpha=1 if few else -1)


def _normed_sum(each: SumNorm, kept: np.ndarray, heads: Tensor) -> Tensor:
    """Return by how much the norm of the heads that are read differs from the ablated.

    Args:
        each: the norm.
        kept: as in `_sums`, of the heads.
        heads: their differences, likewise.
    """
    ablated = each.ablated.to(heads.device)
    return normed(_sums(kept, heads) + ablated, each.norm) - normed(ablated, each.norm)


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


def through_norm_(at: Tensor, streams: Tensor, along: Tensor, norm: Norm) -> None:
    """Take from gradients at scaled streams those at the streams, in place.

    Args:
        at: gradients times the scale, `(readers, rows, d_model)`.
        streams: what was scaled; centred here, if the norm does that.
        along: the scale squared times the gradients' product with the scaled streams.
        norm: the norm.
    """
    if norm.centred:
        at -= at.mean(-1, keepdim=True)
        streams -= streams.mean(-1, keepdim=True)
    at.addcmul_(streams, along / streams.shape[-1], value=-1)


def normed_gradients(sums: Tensor, norm: Norm, gradients: Tensor) -> Tensor:
    """Return the gradients at sums from those at their norm."""
    with torch.enable_grad():
        leaf = sums.detach().requires_grad_()
        return torch.autograd.grad(normed(leaf, norm), leaf, gradients)[0]
