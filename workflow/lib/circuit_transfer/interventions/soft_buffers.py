"""The differences of writers in one buffer, with gradients for shares of edges.

A reader reads the stream of the ablated run plus the shares of its edges times the
differences of their writers. Autograd sees neither the buffer nor what readers read,
which would be a stream for every reader: every read and write is a function with a
backward pass of its own. Gradients of differences add up in a second buffer, and what
readers read is computed again.

A write passes on a *token*, a number that all later reads depend on. So the backward
pass of a write comes after that of all reads of what it wrote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from circuit_transfer.interventions.edge_buffers import (
    Buffer,
    SumNorm,
    normed,
    normed_gradients,
    statistics,
    through_norm_,
)
from circuit_transfer.interventions.storage import Storage
from circuit_transfer.models.architectures import Norm

# Numbers that are read at a time: so many stay in a CPU's cache until they are used.
AT_ONCE = {"cpu": 2**19, "cuda": 2**28}


class SoftBuffer(Buffer):
    """Differences of writers of several circuits, read by shares of edges."""

    def __init__(
        self,
        writers: np.ndarray,
        rows: tuple[int, int, int],
        like: Tensor,
        storage: Storage,
        place: int,
    ):
        """Make room.

        Args:
            writers: see `Buffer`.
            rows: see `Buffer`.
            like: see `Buffer`.
            storage: where the memory is from; a pass that takes it again ends this one.
            place: of the buffer, which has memory of its own.
        """
        self._storage, self._place = storage, str(place)
        self._pass = storage.passes
        super().__init__(writers, rows, like)
        self.token = like.new_zeros(())
        self._gradients: Tensor | None = None

    def room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory from the storage, see `Buffer.room`."""
        return self._storage.room((name, self._place), shape, like)

    def write(self, writers: np.ndarray, differences: Tensor) -> None:
        """Store differences, see `Buffer.write`; they may require gradients."""
        if not differences.requires_grad:
            super().write(writers, differences)
            return
        self.token = _Write.apply(self.token, differences, self, writers)

    def write_products(
        self, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> None:
        """Store products, see `Buffer.write_products`; they may require gradients."""
        self.token = _WriteProducts.apply(self.token, outputs, weights, self, writers)

    def project(
        self,
        shares: Tensor,
        stream: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: Norm | None,
    ) -> Tensor:
        """Return projections of what readers read, `(readers, rows, d_head)`.

        Args:
            shares: of the edges from the first writers that are stored, `(circuits,
                writers, readers)`.
            stream: of the ablated run where they read it, `(batch, position,
                d_model)`; a single row stands for all prompts.
            weight: `(readers, d_head, d_model)`, with the norm's weight.
            bias: `(readers, d_head)`, with the norm's bias.
            norm: before the projections; only what it multiplies by is computed.
        """
        return _Project.apply(self.token, shares, weight, bias, self, stream, norm)

    def read_one(self, shares: Tensor, stream: Tensor) -> Tensor:
        """Return what one reader reads, `(rows, d_model)`; see `project`."""
        return _Read.apply(self.token, shares, self, stream)

    def reads(self, shares: Tensor, stream: Tensor) -> Iterator["_Reads"]:
        """Yield the reads of readers, of some rows of one circuit at a time.

        Args:
            shares: see `project`.
            stream: see `project`.

        Raises:
            RuntimeError: the memory is used by a later pass.
        """
        if self._pass != self._storage.passes:
            raise RuntimeError(
                "a pass was read after the next one with the same storage had begun: "
                "take every pass back before the next"
            )
        # It has the first slot, and the whole of it is read.
        self.values[0] = stream
        circuits, batch, positions = self.rows
        limit = AT_ONCE.get(self.values.device.type, AT_ONCE["cpu"])
        at_once = max(1, limit // (shares.shape[2] * self.values.shape[-1]))
        every = torch.nn.functional.pad(shares.to(self.values), (0, 0, 1, 0), value=1)
        norms = [each for each in self.norms if each.last <= every.shape[1]]
        for circuit, own in enumerate(every):
            for start in range(0, batch * positions, at_once):
                rows = slice(start, min(start + at_once, batch * positions))
                yield _Reads(self, own, norms, circuit, rows)

    def gradients(self, slots: int = 0) -> tuple[Tensor, bool]:
        """Return the gradients of all differences, and whether there were some before.

        Args:
            slots: how many of the first ones are set next; others are zero at first.
        """
        known = self._gradients is not None
        if not known:
            self._gradients = self.room("gradients", self.values.shape, self.values)
            self._gradients[slots:] = 0
        return self._gradients, known


@dataclass(frozen=True)
class _Reads:
    """What readers read at some rows of one circuit.

    Attributes:
        buffer: the buffer.
        shares: of the slots from the first one, `(slots, readers)`.
        norms: over sums of slots.
        circuit: its number.
        rows: of its prompts' positions.
    """

    buffer: SoftBuffer
    shares: Tensor
    norms: Sequence[SumNorm]
    circuit: int
    rows: slice

    @property
    def place(self) -> slice:
        """Which rows of all circuits these are."""
        _, batch, positions = self.buffer.rows
        first = self.circuit * batch * positions
        return slice(first + self.rows.start, first + self.rows.stop)

    def streams(self) -> Tensor:
        """Return what they read, `(readers, rows, d_model)`."""
        values = self._of_rows(self.buffer.values)
        found = _product(self._plain().T, values)
        for each in self.norms:
            found += normed(self._sums(each), each.norm)
            found -= normed(self._ablated(each), each.norm)
        return found

    def add_gradients(self, gradients: Tensor, known: bool) -> Tensor:
        """Add the gradients of differences, return those of shares `(slots, readers)`.

        Args:
            gradients: at what they read, `(readers, rows, d_model)`.
            known: whether those of differences are added to what there is.
        """
        found = self._add(slice(len(self.shares)), self._plain(), gradients, known)
        for each in self.norms:
            own = normed_gradients(self._sums(each), each.norm, gradients)
            heads = slice(each.first, each.last)
            found[heads] = self._add(heads, self.shares[heads], own, known=True)
        return found

    def _add(
        self, slots: slice, shares: Tensor, gradients: Tensor, known: bool
    ) -> Tensor:
        values = self._of_rows(self.buffer.values)[slots].flatten(1)
        into = self._of_rows(self.buffer.gradients()[0])[slots].flatten(1)
        at = gradients.flatten(1)
        into.addmm_(shares, at, beta=int(known))
        return values @ at.T

    def _plain(self) -> Tensor:
        """Return the shares of what is read as it is, not through a norm over a sum."""
        if not self.norms:
            return self.shares
        plain = self.shares.clone()
        for each in self.norms:
            plain[each.first : each.last] = 0
        return plain

    def _sums(self, each: SumNorm) -> Tensor:
        """Return the sums of a layer's heads that they read."""
        heads = slice(each.first, each.last)
        values = self._of_rows(self.buffer.values)[heads]
        return _product(self.shares[heads].T, values) + self._ablated(each)

    def _ablated(self, each: SumNorm) -> Tensor:
        _, batch, _ = self.buffer.rows
        ablated = each.ablated.expand(batch, *each.ablated.shape[1:]).flatten(0, 1)
        return ablated[self.rows].to(self.shares)

    def _of_rows(self, stored: Tensor) -> Tensor:
        """Return the rows of stored values, `(slots, rows, d_model)`, not copied."""
        first = stored[: len(self.shares), self.circuit]
        return first.flatten(1, 2)[:, self.rows]


class _Write(Function):
    """Store differences; the gradient is what later reads have added."""

    @staticmethod
    def forward(ctx, token, differences, buffer, writers):
        Buffer.write(buffer, writers, differences)
        ctx.buffer, ctx.writers, ctx.shape = buffer, writers, differences.shape
        return token.clone()

    @staticmethod
    def backward(ctx, token):
        buffer = ctx.buffer
        stored, _ = buffer.gradients()
        found = stored.new_zeros(ctx.shape)
        own = np.flatnonzero(np.isin(ctx.writers, buffer.writers))
        slots = 1 + np.searchsorted(buffer.writers, ctx.writers[own])
        for slot, index in zip(slots.tolist(), own.tolist(), strict=True):
            into = found[index][..., -buffer.rows[2] :, :]
            # What is the same for all circuits or prompts was stored for each.
            into += stored[slot].sum_to_size(into.shape)
        return token, found, None, None


class _WriteProducts(Function):
    """Store products of outputs and weights, likewise."""

    @staticmethod
    def forward(ctx, token, outputs, weights, buffer, writers):
        Buffer.write_products(buffer, writers, outputs, weights)
        ctx.save_for_backward(outputs if weights.requires_grad else None, weights)
        ctx.buffer, ctx.writers = buffer, writers
        return token.clone()

    @staticmethod
    def backward(ctx, token):
        outputs, weights = ctx.saved_tensors
        stored, _ = ctx.buffer.gradients()
        slots = 1 + np.searchsorted(ctx.buffer.writers, ctx.writers)
        if slots[-1] - slots[0] + 1 == len(slots):
            stored = stored[slots[0] : slots[-1] + 1]
        else:
            stored = stored[torch.from_numpy(slots).to(stored.device)]
        at = stored.flatten(1, -2).to(weights.device)
        by_weight = None if outputs is None else torch.bmm(outputs.mT, at)
        return token, torch.bmm(at, weights.mT), by_weight, None, None


class _Read(Function):
    """Read one stream."""

    @staticmethod
    def forward(ctx, token, shares, buffer, stream):
        ctx.save_for_backward(shares)
        ctx.buffer, ctx.stream = buffer, stream
        parts = buffer.reads(shares, stream)
        return torch.cat([each.streams()[0] for each in parts])

    @staticmethod
    def backward(ctx, gradient):
        (shares,) = ctx.saved_tensors
        found = torch.zeros_like(shares)
        _, known = ctx.buffer.gradients(1 + shares.shape[1])
        for each in ctx.buffer.reads(shares, ctx.stream):
            at = gradient[each.place][None]
            found[each.circuit] += each.add_gradients(at, known)[1:]
        return gradient.new_zeros(()), found, None, None


class _Project(Function):
    """Read streams and project them; they are read again in the backward pass.

    A norm multiplies every stream by a number, which is applied to the projections.
    """

    @staticmethod
    def forward(ctx, token, shares, weight, bias, buffer, stream, norm):
        rows = int(np.prod(buffer.rows))
        # Products of small blocks are faster with columns that follow each other.
        columns = weight.mT.contiguous()
        found = weight.new_empty(len(weight), rows, weight.shape[1])
        scales = weight.new_empty(len(weight), rows, 1)
        for each in buffer.reads(shares, stream):
            streams = each.streams().to(weight.device)
            projected = torch.bmm(streams, columns)
            if norm is not None:
                mean, scale = statistics(streams, norm)
                if mean is not None:
                    projected -= mean * weight.sum(-1)[:, None]
                projected *= scale
                scales[:, each.place] = scale
            found[:, each.place] = projected
        ctx.save_for_backward(shares, weight, scales, found)
        ctx.buffer, ctx.stream, ctx.norm = buffer, stream, norm
        return found + bias[:, None]

    @staticmethod
    def backward(ctx, gradient):
        shares, weight, scales, found = ctx.saved_tensors
        buffer, norm = ctx.buffer, ctx.norm
        needs_weight, needs_bias = ctx.needs_input_grad[2:4]
        by_share = torch.zeros_like(shares)
        by_weight = torch.zeros_like(weight) if needs_weight else None
        _, known = buffer.gradients(1 + shares.shape[1])
        for each in buffer.reads(shares, ctx.stream):
            own, streams = gradient[:, each.place], None
            scaled = own if norm is None else own * scales[:, each.place]
            at = torch.bmm(scaled, weight)
            if norm is not None or needs_weight:
                streams = each.streams().to(weight.device)
            if norm is not None:
                along = (scaled * found[:, each.place]).sum(-1, keepdim=True)
                through_norm_(at, streams, along * scales[:, each.place], norm)
            if needs_weight:
                by_weight += torch.bmm(scaled.mT, streams)
            at = at.to(buffer.values.device)
            by_share[each.circuit] += each.add_gradients(at, known)[1:]
        by_bias = gradient.sum(1) if needs_bias else None
        token = gradient.new_zeros(())
        return token, by_share, by_weight, by_bias, None, None, None


def _product(shares: Tensor, values: Tensor) -> Tensor:
    """Return sums of values `(slots, rows, d_model)` by shares `(readers, slots)`."""
    return (shares @ values.flatten(1)).unflatten(1, values.shape[1:])
