"""Gradients at what the readers of edges read, summed over runs.

A reader of queries, keys or values computes `W norm(x)` of the residual stream `x`, so
that a gradient `g` of what it computes becomes `V' g / r - n c / d` at the stream, with
`V = W * weight`, the root mean square `r` of `x`, `n = x / r`, `c = <n, V' g / r>` and
the width `d` (for a LayerNorm with `x` and the rows of `V` centred). The first part is
linear in `g / r`, so that it is summed over runs before the weights multiply it; `c` is
known from the reader's own output, since `V n` is that output without biases.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.projections import (
    divided,
    projection_weights,
    readers_of_kinds,
)
from circuit_transfer.interventions.readers import Observed
from circuit_transfer.models.architectures import (
    LayerReaders,
    Norm,
    layer_readers,
    norm_of,
)
from circuit_transfer.models.edges import KINDS, Graph
from circuit_transfer.models.weights import all_on_device, on_device


@dataclass(frozen=True)
class Block:
    """Summed gradients at readers that follow one another.

    Their gradient at run `k` has a part along the stream's direction, which the sum
    leaves out: it is `-along[k] * directions[k] / d_model`.

    Attributes:
        readers: their numbers.
        summed: float32 `(readers, batch, position, d_model)`.
        directions: `(runs, batch, position, d_model)`, None without such a part.
        along: `(runs, batch, position, readers)`, likewise.
    """

    readers: range
    summed: Tensor
    directions: Tensor | None = None
    along: Tensor | None = None

    @property
    def slice(self) -> slice:
        """The numbers of the readers."""
        return slice(self.readers.start, self.readers.stop)


class ReaderGradients:
    """The sum over runs of the gradients at all readers, in float32."""

    def __init__(self, model: nn.Module, graph: Graph, *, frozen_norms: bool = False):
        """Start without a run.

        Args:
            model: the model of the runs.
            graph: its graph, by which its keys and values were observed.
            frozen_norms: whether norms divide by a constant, as some rules of backward
                passes have it, instead of what depends on the stream.
        """
        self.runs = 0
        self._model, self._graph, self.frozen_norms = model, graph, frozen_norms
        self._layers = layer_readers(model)
        count = graph.layers
        self._scaled: list[Tensor | None] = [None] * count
        self._directions: list[list[Tensor]] = [[] for _ in range(count)]
        self._along: list[list[Tensor]] = [[] for _ in range(count)]
        self._direct: list[Tensor | None] = [None] * (count + 1)

    @torch.no_grad()
    def add(self, run: Observed, gradients: Observed, times: int = 1) -> None:
        """Add runs.

        Args:
            run: what they read.
            gradients: see `interventions.readers.reader_gradients`.
            times: how many runs are side by side in the rows.
        """
        self.runs += times
        logits = gradients.logits[0][:, -1:]
        for number, gradient in enumerate([*gradients.mlps, logits]):
            if gradient is not None:
                part = _summed(gradient.float(), times)
                _add(self._direct, number, part)
        for number, projected in enumerate(gradients.projections):
            if projected[0] is not None:
                self._add_attention(number, run, projected, times)

    def _add_attention(
        self, number: int, run: Observed, projected: Sequence[Tensor], times: int
    ) -> None:
        layer = self._layers[number]
        gradient = self._by_reader(layer, projected).float()
        if layer.attention_norm is not None:
            with on_device(layer.attention_norm):
                norm = norm_of(self._model, layer.attention_norm)
            direction, root = normalised(run.streams[number], norm)
            if not self.frozen_norms:
                value = self._by_reader(layer, run.projections[number]).float()
                offset = self._offset(layer)
                if offset is not None:
                    value -= offset.to(value.device)
                along = value.mul_(gradient).sum(-1) / root
                self._directions[number].append(_by_run(direction, times))
                self._along[number].append(_by_run(along, times))
            gradient /= root[..., None]
        _add(self._scaled, number, _summed(gradient, times))

    def block(self, number: int, rows: slice = slice(None)) -> Block | None:
        """Return the gradients at the readers that the same writers can precede.

        Those are the MLP of a layer and the heads of the next one, though heads can be
        preceded by that MLP too: before the first layer there is no MLP, after the last
        one the logits take the place of heads, at the last position.

        Args:
            number: 0 for the heads of the first layer, and so on.
            rows: the examples to return them for.

        Returns:
            None if no run has come to them.
        """
        mlp = self._direct[number - 1] if number else None
        direct = [] if mlp is None else [mlp[rows]]
        if number == self._graph.layers:
            direct.append(self._direct[number][rows])
            summed = torch.stack([each.to(direct[-1].device) for each in direct])
            end = len(self._graph.readers)
            return Block(range(end - len(direct), end), summed)
        if self._scaled[number] is None:
            return None
        return self._heads_block(number, rows, direct)

    def _heads_block(self, number: int, rows: slice, direct: list[Tensor]) -> Block:
        """Return the gradients at the heads of a layer, and at the MLP before it."""
        scaled, own = self._scaled[number][rows], len(direct)
        weight = self._weight(self._layers[number]).to(scaled.device)
        examples, positions, count, _ = scaled.shape
        summed = scaled.new_empty(own + count, examples, positions, weight.shape[-1])
        for index, gradient in enumerate(direct):
            summed[index] = gradient
        flat = scaled.permute(2, 0, 1, 3).flatten(1, 2)
        torch.bmm(flat, weight, out=summed[own:].flatten(1, 2))
        first = self._graph.attention_readers(number, "q").start
        readers = range(first - own, first + count)
        if not self._along[number]:
            return Block(readers, summed)
        along = torch.cat([each[:, rows] for each in self._along[number]])
        along = torch.nn.functional.pad(along, (own, 0))
        directions = torch.cat([each[:, rows] for each in self._directions[number]])
        return Block(readers, summed, directions, along)

    def _by_reader(self, layer: LayerReaders, outputs: Sequence[Tensor]) -> Tensor:
        """Return outputs of the projections as `(batch, position, readers, d_head)`."""
        sizes = {"q": self._graph.heads}
        sizes |= dict.fromkeys("kv", self._graph.kv_readers)
        if not layer.fused:
            counts = zip(outputs, sizes.values(), strict=True)
            parts = [each.unflatten(-1, (count, -1)) for each, count in counts]
        else:
            parts = divided(outputs[0], [*sizes.values()], layer.fused)
        return torch.cat(parts, dim=-2)

    def _weight(self, layer: LayerReaders) -> Tensor:
        """Return `V` of a layer's readers, float32 `(readers, d_head, d_model)`."""
        with _loaded(layer):
            weights = projection_weights(self._model, layer)
            weight = self._repeated({kind: each[0] for kind, each in weights.items()})
            weight = weight.float()
            if layer.attention_norm is None:
                return weight.contiguous()
            norm = norm_of(self._model, layer.attention_norm)
            weight = weight * norm.weight.float()
        return weight - weight.mean(-1, keepdim=True) if norm.centred else weight

    def _offset(self, layer: LayerReaders) -> Tensor | None:
        """Return what a layer's readers compute of a stream of zero, `(readers, d)`."""
        found = {}
        with _loaded(layer):
            norm = norm_of(self._model, layer.attention_norm)
            for kind, (weight, bias) in projection_weights(self._model, layer).items():
                if norm.bias is not None:
                    of_norm = weight.float() @ norm.bias.float()
                    bias = of_norm if bias is None else bias.float() + of_norm
                found[kind] = bias
            return None if found["q"] is None else self._repeated(found).float()

    def _repeated(self, by_kind: dict[str, Tensor]) -> Tensor:
        """Join queries, keys and values, with a key for every reader of keys."""
        times = self._graph.kv_readers // readers_of_kinds(self._model)["k"]
        parts = [
            by_kind[kind]
            if kind == "q" or times == 1
            else by_kind[kind].repeat_interleave(times, dim=0)
            for kind in KINDS
        ]
        return torch.cat(parts)


def _loaded(layer: LayerReaders) -> AbstractContextManager[None]:
    norms = [] if layer.attention_norm is None else [layer.attention_norm]
    return all_on_device([*layer.projections, *norms])


def normalised(x: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """Return what a norm makes of `(..., d_model)` before its weight, and its divisor.

    Both are float32; the divisor is `(..., 1)`.
    """
    x = x.float()
    if norm.centred:
        x = x - x.mean(-1, keepdim=True)
    root = (x.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return x / root, root


def _summed(tensor: Tensor, times: int) -> Tensor:
    """Return the sum over runs that are side by side."""
    return tensor if times == 1 else _by_run(tensor, times).sum(0)


def _by_run(tensor: Tensor, times: int) -> Tensor:
    return tensor.unflatten(0, (times, -1))


def _add(sums: list[Tensor | None], number: int, part: Tensor) -> None:
    sums[number] = part if sums[number] is None else sums[number] + part
