"""What readers read of the residual stream: its changes, through norm and weights.

A query, key or value reads by its projection, before any norm of its own and before
rotary positions; an MLP reads what the norm before it returns, and the logits what the
final norm returns. Where there is no norm (OLMo 2), the stream itself is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.edge_buffers import statistics
from circuit_transfer.interventions.projections import projection_weights
from circuit_transfer.models.architectures import (
    LayerReaders,
    Norm,
    final_norm,
    has_parallel_mlp,
    layer_readers,
    norm_of,
)
from circuit_transfer.models.edges import KINDS, LOGITS, Graph
from circuit_transfer.models.weights import on_device
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.transfer.changes import Changes, run_pairs

MLP = "mlp"


@dataclass(frozen=True)
class Runs:
    """Clean and corrupted runs of the pairs of one batch.

    Attributes:
        clean: the residual stream, float32 `(points, batch, position, d_model)`; the
            first point is that of the embeddings, the others as in
            `architectures.stream_points`.
        corrupted: likewise.
        sites: changes of the outputs of every site, see `changes.Changes`.
    """

    clean: Tensor
    corrupted: Tensor
    sites: list[Tensor]

    def changes(self) -> Changes:
        """Return the changes, those of the stream without that of the embeddings."""
        return Changes(self.clean[1:] - self.corrupted[1:], self.sites)


def run_reads(model: nn.Module, batch: PairBatch) -> Runs:
    """Run the clean and the corrupted prompts of a batch, and return both streams."""
    return Runs(*run_pairs(model, batch, start=True))


@dataclass(frozen=True)
class Streams:
    """The residual stream of both runs on the tokens of all batches.

    Attributes:
        clean: `(points, token, d_model)`, points as in `Runs`.
        corrupted: likewise.
        last: whether a token is the last one of its prompt, bool `(token,)`.
    """

    clean: Tensor
    corrupted: Tensor
    last: Tensor


def joined_streams(runs: Sequence[Runs]) -> Streams:
    """Concatenate the tokens of all batches."""
    clean = torch.cat([each.clean.flatten(1, 2) for each in runs], dim=1)
    corrupted = torch.cat([each.corrupted.flatten(1, 2) for each in runs], dim=1)
    last = []
    for each in runs:
        own = torch.zeros(each.clean.shape[1:3], dtype=torch.bool, device=clean.device)
        own[:, -1] = True
        last.append(own.flatten())
    return Streams(clean, corrupted, torch.cat(last))


@dataclass(frozen=True)
class Place:
    """Readers that read the residual stream at one point, through one norm.

    Attributes:
        point: of the stream, as in `Runs`.
        norm: before them, None where they read the stream itself.
        weights: by kind (see `edge_maps.reader_kinds`) those of a projection,
            `(projections, width, d_model)`; None for what is read as it is.
        readers: by kind, the numbers of the readers; several in turn may share a
            projection.
        answering: the kinds of which only the last position matters to the answer.
    """

    point: int
    norm: Norm | None
    weights: Mapping[str, Tensor | None]
    readers: Mapping[str, range]
    answering: str | tuple[str, ...] = ()

    def read(self, values: Tensor, stream: Tensor) -> dict[str, Tensor]:
        """Return what the readers read of values, without any bias.

        Args:
            values: `(token, d_model)`.
            stream: the residual stream whose size the norm divides by, likewise.

        Returns:
            By kind, `(token, projections, width)`.
        """
        seen = values if self.norm is None else _scaled(values, stream, self.norm)
        return {
            kind: seen[:, None] if weight is None else _projected(seen, weight)
            for kind, weight in self.weights.items()
        }

    def changes(self, streams: Streams) -> dict[str, Tensor]:
        """Return how much what is read changes, `(token, projections, width)`."""
        clean, corrupted = (
            self.read(each[self.point], each[self.point])
            for each in (streams.clean, streams.corrupted)
        )
        return {kind: clean[kind] - corrupted[kind] for kind in clean}

    def shared(self, kind: str) -> int:
        """Return how many readers share a projection."""
        weight = self.weights[kind]
        return 1 if weight is None else len(self.readers[kind]) // len(weight)


def reading_places(model: nn.Module, graph: Graph) -> Iterator[Place]:
    """Yield where a model reads its stream, in the order of the readers.

    The weights of a place may be used until the next one.

    Args:
        model: the model.
        graph: its edges.
    """
    layers, parallel = layer_readers(model), has_parallel_mlp(model.config)
    for number, layer in enumerate(layers):
        last = number == graph.layers - 1
        yield from _attention(model, layer, graph, number, ("q",) if last else ())
        mlp = graph.mlp_reader(number)
        place = 2 * number + (not parallel), layer.mlp_norm, MLP, mlp
        yield from _whole(model, *place, (MLP,) if last else ())
    place = 2 * graph.layers, final_norm(model), LOGITS, len(graph.readers) - 1
    yield from _whole(model, *place, (LOGITS,))


def _attention(
    model: nn.Module,
    layer: LayerReaders,
    graph: Graph,
    number: int,
    answering: tuple[str, ...],
) -> Iterator[Place]:
    with ExitStack() as stack:
        for module in filter(None, [*layer.projections, layer.attention_norm]):
            stack.enter_context(on_device(module))
        norm = layer.attention_norm and norm_of(model, layer.attention_norm)
        weights = projection_weights(model, layer)
        yield Place(
            2 * number,
            norm,
            {kind: weights[kind][0] for kind in KINDS},
            {kind: graph.attention_readers(number, kind) for kind in KINDS},
            answering,
        )


def _whole(
    model: nn.Module,
    point: int,
    module: nn.Module | None,
    kind: str,
    reader: int,
    answering: tuple[str, ...],
) -> Iterator[Place]:
    """Yield the place of one reader of all that a norm returns."""
    own = {kind: None}, {kind: range(reader, reader + 1)}
    with ExitStack() as stack:
        if module is not None:
            stack.enter_context(on_device(module))
        yield Place(point, module and norm_of(model, module), *own, answering)


def _scaled(values: Tensor, stream: Tensor, norm: Norm) -> Tensor:
    """Return values as a norm of the stream scales them, without its bias."""
    _, scale = statistics(stream, norm)
    centred = values - values.mean(-1, keepdim=True) if norm.centred else values
    return centred * scale * norm.weight.to(values)


def _projected(values: Tensor, weight: Tensor) -> Tensor:
    found = values @ weight.to(values).flatten(0, 1).T
    return found.unflatten(-1, weight.shape[:2])
