"""The differences of writers in one buffer, with gradients for shares of edges.

A reader reads the stream of the ablated run plus the shares of its edges times the
differences of their writers. Autograd sees neither the buffer nor what readers read,
which would be a stream for every reader: every read and write is a function with a
backward pass of its own. Gradients of differences add up in a second buffer, and what
readers read is computed again.

A write passes on a *token*, a number that all later reads depend on. So the backward
pass of a write comes after that of all reads of what it wrote.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from circuit_transfer.interventions.edge_buffers import (
    Buffer,
    SumNorm,
    normed,
    statistics,
)
from circuit_transfer.models.architectures import Norm


class SoftBuffer(Buffer):
    """Differences of writers of several circuits, read by shares of edges.

    Slots are as in `Buffer`, but there is none for the stream of the ablated run.
    """

    FIRST = 0

    def __init__(self, writers: np.ndarray, rows: tuple[int, int, int], like: Tensor):
        """Make room; arguments as in `Buffer`."""
        super().__init__(writers, rows, like)
        self.token = like.new_zeros(())
        self._gradients: Tensor | None = None

    def write(self, writers: np.ndarray, differences: Tensor) -> None:
        """Store differences, see `Buffer.write`; they may require gradients."""
        if not differences.requires_grad:
            super().write(writers, differences)
            return
        self.token = _Write.apply(self.token, differences, self, writers)

    def write_products(
        self, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> None:
        """Store products of consecutive slots, see `Buffer.write_products`."""
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
            shares: of the edges from the first slots, `(circuits, slots, readers)`.
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

    def mixed(self, shares: Tensor, stream: Tensor) -> Tensor:
        """Return what readers read, without gradients.

        Returns:
            `(readers, circuits * batch * position, d_model)`.
        """
        values = self.values[: shares.shape[1]]
        flat = values.flatten(2)
        norms = self._norms(values)
        base = stream.expand(values.shape[2:]).flatten()
        found = flat.new_empty(shares.shape[2], *values.shape[1:])
        into = found.flatten(2)
        for circuit, own in enumerate(_outside(shares.to(values), norms)):
            torch.addmm(base, own.T, flat[:, circuit], out=into[:, circuit])
        for each in norms:
            ablated = each.ablated.to(values.device)
            found += normed(self._sums(each, shares), each.norm)
            found -= normed(ablated, each.norm)
        return found.flatten(1, -2)

    def add_gradients(self, shares: Tensor, gradients: Tensor) -> Tensor:
        """Add the gradients of differences, return those of shares.

        Args:
            shares: see `project`.
            gradients: at what readers read, as `mixed` returns it.

        Returns:
            As `shares`.
        """
        values = self.values[: shares.shape[1]]
        at = gradients.view(len(gradients), *values.shape[1:])
        norms = self._norms(values)
        plain = _outside(shares.to(values), norms)
        found = self._add(slice(0, len(values)), plain, at)
        for each in norms:
            heads = slice(each.first, each.last)
            sums = self._sums(each, shares)
            own = _normed_gradients(sums, each.norm, at)
            found[:, heads] = self._add(heads, shares[:, heads].to(values), own)
        return found.to(shares)

    def gradients(self) -> Tensor:
        """Return the gradients of all differences so far, as they are stored."""
        if self._gradients is None:
            self._gradients = torch.zeros_like(self.values)
        return self._gradients

    def _norms(self, values: Tensor) -> Sequence[SumNorm]:
        return [each for each in self.norms if each.last <= len(values)]

    def _sums(self, each: SumNorm, shares: Tensor) -> Tensor:
        """Return the sums of a layer's heads that readers read."""
        heads = self.values[each.first : each.last]
        own = shares[:, each.first : each.last].to(heads)
        sums = torch.einsum("csr,scbtd->rcbtd", own, heads)
        return sums + each.ablated.to(heads.device)

    def _add(self, slots: slice, shares: Tensor, gradients: Tensor) -> Tensor:
        """Add gradients of the differences in some slots, return those of shares."""
        values = self.values[slots].flatten(2)
        into, at = self.gradients()[slots].flatten(2), gradients.flatten(2)
        found = torch.empty_like(shares)
        for circuit, own in enumerate(shares):
            torch.mm(values[:, circuit], at[:, circuit].T, out=found[circuit])
            into[:, circuit].addmm_(own, at[:, circuit])
        return found


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
        found = buffer.values.new_zeros(ctx.shape)
        own = np.flatnonzero(np.isin(ctx.writers, buffer.writers))
        slots = np.searchsorted(buffer.writers, ctx.writers[own])
        for slot, index in zip(slots.tolist(), own.tolist(), strict=True):
            into = found[index][..., -buffer.rows[2] :, :]
            # What is the same for all circuits or prompts was stored for each.
            into += buffer.gradients()[slot].sum_to_size(into.shape)
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
        slots = np.searchsorted(ctx.buffer.writers, ctx.writers)
        stored = ctx.buffer.gradients()
        if slots[-1] - slots[0] + 1 == len(slots):
            stored = stored[slots[0] : slots[-1] + 1]
        else:
            stored = stored[torch.from_numpy(slots).to(stored.device)]
        at = stored.flatten(1, -2).to(weights.device)
        by_output = torch.bmm(at, weights.mT)
        by_weight = None if outputs is None else torch.bmm(outputs.mT, at)
        return token, by_output, by_weight, None, None


class _Read(Function):
    """Read one stream."""

    @staticmethod
    def forward(ctx, token, shares, buffer, stream):
        ctx.save_for_backward(shares)
        ctx.buffer = buffer
        return buffer.mixed(shares, stream)[0]

    @staticmethod
    def backward(ctx, gradient):
        (shares,) = ctx.saved_tensors
        found = ctx.buffer.add_gradients(shares, gradient.contiguous()[None])
        return gradient.new_zeros(()), found, None, None


class _Project(Function):
    """Read streams and project them; they are read again in the backward pass.

    A norm multiplies every stream by a number, which is applied to the projections.
    """

    @staticmethod
    def forward(ctx, token, shares, weight, bias, buffer, stream, norm):
        streams = buffer.mixed(shares, stream).to(weight.device)
        found = torch.bmm(streams, weight.mT)
        scale = None
        if norm is not None:
            mean, scale = statistics(streams, norm)
            if mean is not None:
                found -= mean * weight.sum(-1)[:, None]
            found *= scale
        ctx.save_for_backward(
            shares, weight, bias, scale, found if scale is not None else None
        )
        ctx.buffer, ctx.stream, ctx.norm = buffer, stream, norm
        return found + bias[:, None]

    @staticmethod
    def backward(ctx, gradient):
        shares, weight, bias, scale, found = ctx.saved_tensors
        needs_weight, needs_bias = ctx.needs_input_grad[2:4]
        norm, buffer = ctx.norm, ctx.buffer
        scaled = gradient if norm is None else gradient * scale
        at = torch.bmm(scaled, weight)
        streams = None
        if norm is not None or needs_weight:
            streams = buffer.mixed(shares, ctx.stream).to(weight.device)
        if norm is not None:
            if norm.centred:
                at -= at.mean(-1, keepdim=True)
                streams -= streams.mean(-1, keepdim=True)
            size = (gradient * found).sum(-1, keepdim=True) * scale.square()
            at.addcmul_(streams, size / streams.shape[-1], value=-1)
        by_weight = torch.bmm(scaled.mT, streams) if needs_weight else None
        by_bias = gradient.sum(1) if needs_bias else None
        by_share = buffer.add_gradients(shares, at.to(buffer.values.device))
        token = gradient.new_zeros(())
        return token, by_share, by_weight, by_bias, None, None, None


def _outside(shares: Tensor, norms: Sequence[SumNorm]) -> Tensor:
    """Return shares of what is read as it is, not through a norm over a sum."""
    if not norms:
        return shares
    plain = shares.clone()
    for each in norms:
        plain[:, each.first : each.last] = 0
    return plain


def _normed_gradients(sums: Tensor, norm: Norm, gradients: Tensor) -> Tensor:
    """Return the gradients at sums from those at their norm."""
    fixed = replace(norm, weight=norm.weight.detach())
    with torch.enable_grad():
        leaf = sums.detach().requires_grad_()
        return torch.autograd.grad(normed(leaf, fixed), leaf, gradients)[0]
