"""Scores of edges: differences of writers times gradients at readers.

All writers are in one buffer, which grows from layer to layer, and are multiplied by
all readers that come next in one product, for each example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_gradients import (
    Block,
    ReaderGradients,
    normalised,
)
from circuit_transfer.models.architectures import (
    Norm,
    layer_readers,
    node_sites,
    norm_of,
    projection_weight,
)
from circuit_transfer.models.edges import Graph
from circuit_transfer.models.weights import on_device

# Values of all writers in the buffer: 64 MB on a CPU, 1 GB on a GPU. With many heads it
# would need several times the memory of a pass, so that examples take turns.
BUFFER = {"cpu": 2**24, "cuda": 2**28}


@dataclass(frozen=True)
class Differences:
    """Differences of the outputs of writers between two runs.

    Attributes:
        input: of the token embeddings, `(batch, position, d_model)`; None to leave
            them out.
        outputs: of the nodes by site, `(batch, position, nodes, width)`, None likewise;
            in the last layer of the last position.
        sums: by layer, the sum of the heads where a norm follows it, in the run where
            the derivative of that norm is taken; None elsewhere.
    """

    input: Tensor | None
    outputs: Sequence[Tensor | None]
    sums: Sequence[Tensor | None]

    @property
    def examples(self) -> Tensor:
        """One of the tensors, which has all examples."""
        given = [each for each in self.outputs if each is not None]
        return given[0] if self.input is None else self.input

    def rows(self, rows: slice) -> Self:
        """Return those of some examples."""

        def part(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
            return [each if each is None else each[rows] for each in tensors]

        return Differences(*part([self.input]), part(self.outputs), part(self.sums))


@torch.no_grad()
def edge_products(
    model: nn.Module,
    graph: Graph,
    differences: Differences,
    gradients: ReaderGradients,
) -> Tensor:
    """Multiply differences of writers by the mean gradients at readers.

    The layers may be on several devices: the differences follow the gradients.

    Returns:
        Sums over positions and width, float32 `(batch, n_writers, n_readers)`, 0 where
        there is no edge.
    """
    start = differences.examples
    size = len(graph.writers) * start.shape[1] * model.config.hidden_size
    at_once = max(1, BUFFER.get(start.device.type, BUFFER["cpu"]) // size)
    parts = []
    for first in range(0, len(start), at_once):
        rows = slice(first, first + at_once)
        written = _Written(model, graph, differences.rows(rows), gradients.frozen_norms)
        parts.append(_scores(graph, written, gradients, rows))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _scores(
    graph: Graph, written: "_Written", gradients: ReaderGradients, rows: slice
) -> Tensor:
    """Return the scores of some examples, whose writers are not written yet."""
    shape = written.examples, len(graph.writers), len(graph.readers)
    scores = torch.zeros(shape, device=written.buffer.device)
    for number in range(graph.layers + 1):
        if number == graph.layers:
            written.keep_last()
        if number:
            written.add_layer(number - 1)
        block = gradients.block(number, rows) if written.count else None
        if block is not None:
            found = written.times(block)
            scores[:, written.writers, block.slice] = found.to(scores.device)
    legal = torch.from_numpy(graph.legal).to(scores.device)
    return scores.masked_fill_(~legal, 0.0).div_(gradients.runs)


class _Written:
    """What writers have added to the residual stream so far, more in one run."""

    def __init__(
        self, model: nn.Module, graph: Graph, differences: Differences, frozen: bool
    ):
        self._model, self._graph, self._frozen = model, graph, frozen
        self._differences = differences
        self._layers, self._sites = layer_readers(model), node_sites(model)
        self.first, self.count = 0, 0
        start = differences.examples
        self.examples, positions = start.shape[:2]
        # The last layer's are only read at the last position.
        early = differences.outputs[:-2]
        most = sum(each.shape[2] for each in early if each is not None)
        most += differences.input is not None
        size = (most, self.examples, positions, model.config.hidden_size)
        self.buffer = torch.empty(size, device=start.device)
        if differences.input is not None:
            self.buffer[0] = differences.input
            self.count = 1

    @property
    def writers(self) -> slice:
        """The numbers of the writers."""
        return slice(self.first, self.first + self.count)

    def keep_last(self) -> None:
        """Keep only the last position, with room for the writers of the last layer."""
        before = self.buffer[: self.count, :, -1:]
        most = self.count + self._graph.heads + 1
        self.buffer = before.new_empty(most, *before.shape[1:])
        self.buffer[: self.count] = before

    def add_layer(self, number: int) -> None:
        """Add the heads and the MLP of a layer, if they have differences."""
        graph = self._graph
        heads, mlp = self._differences.outputs[2 * number : 2 * number + 2]
        if heads is not None:
            into = self._next(graph.head_writers(number).start, graph.heads)
            self._write_heads(number, heads, into)
        if mlp is not None:
            self._next(graph.mlp_writer(number), 1)[0] = mlp.squeeze(2)

    def _next(self, writer: int, count: int) -> Tensor:
        if not self.count:
            self.first = writer
        self.count += count
        return self.buffer[self.count - count : self.count]

    def _write_heads(self, number: int, heads: Tensor, into: Tensor) -> None:
        projection = self._sites[2 * number][0]
        flat = heads.to(into).permute(2, 0, 1, 3).flatten(1, 2)
        with on_device(projection):
            weight = projection_weight(projection).T.to(into)
        by_head = weight.unflatten(0, (heads.shape[2], -1))
        torch.bmm(flat, by_head, out=into.flatten(1, 2))
        norm = self._layers[number].heads_norm
        if norm is not None:
            with on_device(norm):
                self._differentiate(norm_of(self._model, norm), number, into)

    def _differentiate(self, norm: Norm, number: int, heads: Tensor) -> None:
        """Replace contributions of heads by what they change in the norm of the sum."""
        direction, root = normalised(self._differences.sums[number].to(heads), norm)
        if norm.centred:
            heads -= heads.mean(-1, keepdim=True)
        if not self._frozen:
            heads -= direction * (direction * heads).mean(-1, keepdim=True)
        heads *= norm.weight.to(heads) / root

    def times(self, block: Block) -> Tensor:
        """Multiply the writers by readers: `(batch, writers, readers)`."""
        # Layers may be on several devices.
        self.buffer = self.buffer.to(block.summed.device)
        written = self.buffer[: self.count]
        writers = written.transpose(0, 1).flatten(2)
        readers = block.summed.transpose(0, 1).flatten(2)
        found = torch.bmm(writers, readers.transpose(1, 2))
        if block.along is None:
            return found
        # By token, each writer along each run's direction.
        by_token = written.permute(1, 2, 0, 3).flatten(0, 1)
        directions = block.directions.permute(1, 2, 3, 0).flatten(0, 1)
        part = torch.bmm(by_token, directions)
        part = part.unflatten(0, written.shape[1:3]).transpose(1, 2).flatten(2)
        along = block.along.permute(1, 2, 0, 3).flatten(1, 2)
        return found.sub_(torch.bmm(part, along), alpha=1 / written.shape[-1])
