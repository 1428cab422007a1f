"""One forward pass of a plain Hugging Face model in which readers have own streams.

Every reader has a residual stream of its own: that of the ablated run, plus the
differences of the writers of its edges, running minus ablated. The stream that the
modules of `transformers` pass on is not used. `edges` runs circuits with it, which have
an edge or not, `soft_edges` masks that have a share of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.counting import counted
from circuit_transfer.interventions.edge_buffers import Buffer, SumNorm
from circuit_transfer.interventions.edge_plans import Plan
from circuit_transfer.interventions.edge_references import EdgeRun
from circuit_transfer.interventions.hooks import replacing
from circuit_transfer.interventions.projections import (
    joined,
    readers_of_kinds,
    repeated_keys,
)
from circuit_transfer.interventions.runs import Prefix, answer_logits
from circuit_transfer.models.architectures import (
    final_norm,
    layer_modules,
    layer_readers,
    node_sites,
    norm_of,
    projection_weight,
)
from circuit_transfer.models.edge_paths import ANSWER, EVERYWHERE, NOWHERE
from circuit_transfer.models.edges import KINDS, Graph
from circuit_transfer.models.shape import head_width
from circuit_transfer.models.weights import on_device

# What a module adds to the stream that is not used, whatever its shape and device.
ZERO = torch.zeros(())


@dataclass(frozen=True)
class EdgeRuns:
    """What all circuits of a batch of prompts share.

    Attributes:
        graph: the edges of the model.
        ids: of the clean prompts, `(batch, position)`.
        ablated: the run with everything ablated, of the same prompts or, if it is the
            same for all, of a single one.
        clean: that of the clean prompts; of the first layer only.
        after: the prefix that the prompts continue, for as many keys as readers.
        head_weights: by layer what projects the heads' outputs in the ablated run, see
            `edge_references.head_weights`; None where circuits have the same.
    """

    graph: Graph
    ids: Tensor
    ablated: EdgeRun
    clean: EdgeRun
    after: Prefix | None = None
    head_weights: Sequence[Tensor] | None = None


class EdgePass(ABC):
    """The forward functions of the modules in one pass of several circuits.

    Attributes:
        buffers: the differences of writers where they are read, at all positions or at
            that of the answer.
    """

    # The first layer whose queries, keys and values are computed from streams.
    first_projected = 0

    def __init__(self, model: nn.Module, runs: EdgeRuns, plan: Plan, circuits: int):
        """Store what does not depend on the circuits.

        Args:
            model: the model.
            runs: what the circuits share.
            plan: what they compute.
            circuits: how many there are.
        """
        self.model, self.runs, self.plan = model, runs, plan
        self.readers, self.sites = layer_readers(model), node_sites(model)
        self.circuits, self.batch = circuits, len(runs.ids)
        clean, ablated = runs.clean.streams[0][0], runs.ablated.streams[0][0]
        self.buffers = {
            place: self.buffer(place, length, clean)
            for place, length in ((EVERYWHERE, clean.shape[1]), (ANSWER, 1))
        }
        self.write(range(1), (clean - ablated)[None, None])
        for layer in range(len(self.readers)):
            self._add_norm(layer)
            self._write_unreached(layer)

    def logits(self) -> Tensor:
        """Run the circuits, return answer logits `(circuits * batch, vocabulary)`."""
        with (
            repeated_keys(self.model, self.runs.graph.kv),
            replacing(dict(self._forwards())),
        ):
            ids = self.runs.ids.repeat(self.circuits, 1)
            return answer_logits(self.model, ids, after=self.runs.after)

    @abstractmethod
    def buffer(self, place: int, length: int, like: Tensor) -> Buffer:
        """Make room for what is read at a place, of so many positions."""

    @abstractmethod
    def read(self, reader: int, place: int, stream: Tensor) -> Tensor:
        """Return what an MLP or the logits read, `(rows, positions, d_model)`.

        Args:
            reader: its number.
            place: where it is computed.
            stream: of the ablated run.
        """

    @abstractmethod
    def project(self, layer: int, device: torch.device) -> dict[str, Tensor]:
        """Return queries, keys and values, `(rows, position, readers, d_head)`."""

    @abstractmethod
    def write_heads(
        self, place: int, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> None:
        """Store what heads add to the stream where it is read at a place.

        Args:
            place: of the buffer.
            writers: their numbers.
            outputs: differences of the heads, `(writers, rows * position, d_head)`.
            weights: `(writers, d_head, d_model)`.
        """

    def _forwards(self) -> Iterator[tuple[nn.Module, Callable]]:
        """Yield the modules whose forward functions are replaced, with these."""
        for layer, modules in enumerate(layer_modules(self.model)):
            whole, attention, feed_forward = modules
            readers, mlp = self.readers[layer], self.sites[2 * layer + 1][0]
            has_heads = len(self.plan.heads(layer)) > 0
            has_mlp = self.plan.has_mlp(layer)
            if not has_heads and not has_mlp:
                yield whole, _unchanged
                continue
            norms = (readers.attention_norm, readers.mlp_norm, readers.heads_norm)
            yield from (
                (norm, _unchanged) for norm in (*norms, mlp) if norm is not None
            )
            if has_heads:
                yield from self._attention(layer)
            else:
                yield attention, _returning((ZERO, None))
            if has_mlp:
                yield feed_forward, self._mlp(layer, feed_forward, mlp)
            else:
                yield feed_forward, _returning(ZERO)
        norm = final_norm(self.model)
        yield norm, self._final(norm.forward)

    def _attention(self, layer: int) -> Iterator[tuple[nn.Module, Callable]]:
        readers = self.readers[layer]
        found: dict[str, Tensor] = {}

        def projecting(number: int) -> Callable[[Tensor], Tensor]:
            kinds = KINDS if readers.fused else KINDS[number]

            def forward(stream: Tensor) -> Tensor:
                if number == 0:
                    found.update(self.project(layer, stream.device))
                return joined([found.pop(kind) for kind in kinds], readers.fused)

            return forward

        for number, module in enumerate(readers.projections):
            kinds = KINDS if readers.fused else KINDS[number]
            yield module, counted(projecting(number), self._projected(layer, kinds))
        projection, _, heads = self.sites[2 * layer]

        def write(outputs: Tensor) -> Tensor:
            self._write_heads(layer, outputs.unflatten(-1, (heads, -1)))
            return ZERO

        writers = np.asarray(self.runs.graph.head_writers(layer))[
            self.plan.heads(layer)
        ]
        yield projection, counted(write, self._products(self.plan.writers[writers]))

    def _projected(self, layer: int, kinds: Sequence[str]) -> int:
        """Return how many numbers of the weights of some kinds a pass applies."""
        if layer < self.first_projected:
            return 0
        readers = [self.runs.graph.attention_readers(layer, kind) for kind in kinds]
        return sum(self._products(self.plan.readers[np.asarray(r)]) for r in readers)

    def _products(self, places: np.ndarray) -> int:
        """Return how many of its weights a pass applies for heads needed at places."""
        config, rows = self.model.config, self.circuits * self.batch
        positions = sum(
            int((places == place).sum()) * buffer.rows[2]
            for place, buffer in self.buffers.items()
        )
        return rows * positions * head_width(config) * config.hidden_size

    def _mlp(self, layer: int, feed_forward: nn.Module, mlp: nn.Module) -> Callable:
        norm = self.readers[layer].mlp_norm
        steps = [norm, feed_forward, *([mlp] if mlp is not feed_forward else [])]
        steps = [each.forward for each in steps if each is not None]
        reader, site = self.runs.graph.mlp_reader(layer), 2 * layer + 1

        def forward(stream: Tensor) -> Tensor:
            place = int(self.plan.readers[reader])
            length = self.buffers[place].rows[2]
            value = self.read(reader, place, self.runs.ablated.streams[layer][1])
            value = value.to(stream.device)
            for step in steps:
                value = step(value)
            ablated = self.runs.ablated.sites[site][:, -length:, 0]
            by_circuit = value.unflatten(0, (self.circuits, -1))
            writer = self.runs.graph.mlp_writer(layer)
            self.write(range(writer, writer + 1), (by_circuit - ablated)[None])
            return ZERO

        return forward

    def _final(self, norm: Callable) -> Callable:
        def forward(stream: Tensor) -> Tensor:
            last = len(self.runs.graph.readers) - 1
            read = self.read(last, ANSWER, self.runs.ablated.final)
            # At one position, but of the shape that the model expects.
            return norm(read.to(stream.device)).expand_as(stream)

        return forward

    def write(self, writers: range | np.ndarray, differences: Tensor) -> None:
        """Store differences of writers in every buffer, see `Buffer.write`."""
        for buffer in self.buffers.values():
            buffer.write(np.asarray(writers), differences)

    def _write_heads(self, layer: int, live: Tensor) -> None:
        """Store what the heads of a layer add to the stream, by their live outputs.

        Args:
            layer: the layer.
            live: of all its heads, `(rows, position, heads, d_head)`.
        """
        ablated = self.runs.ablated.sites[2 * layer].to(live.device)
        differences = self._differences(live.unflatten(0, (self.circuits, -1)), ablated)
        numbers = self.plan.heads(layer)
        writers = self.runs.graph.head_writers(layer)[0] + numbers
        for place, buffer in self.buffers.items():
            own = self.plan.writers[writers] == place
            if not own.any():
                continue
            chosen = differences[:, :, -buffer.rows[2] :, numbers[own]]
            outputs = chosen.movedim(3, 0).flatten(1, 3)
            with self._head_weights(layer, numbers[own]) as weights:
                outputs = outputs.to(weights.device)
                self.write_heads(place, writers[own], outputs, weights)

    def _differences(self, live: Tensor, ablated: Tensor) -> Tensor:
        """Return what `_head_weights` projects to differences of heads."""
        if self.runs.head_weights is None:
            return live - ablated
        # Each by its own weights, in one product.
        return torch.cat([live, -ablated.expand_as(live)], dim=-1)

    @contextmanager
    def _head_weights(self, layer: int, heads: np.ndarray) -> Iterator[Tensor]:
        """Yield what projects the outputs of heads, `(heads, d_head, d_model)`."""
        projection, _, count = self.sites[2 * layer]
        with on_device(projection):
            weights = projection_weight(projection).T.unflatten(0, (count, -1))
            if self.runs.head_weights is not None:
                ablated = self.runs.head_weights[layer].to(weights)
                weights = torch.cat([weights, ablated], dim=1)
            yield weights if len(heads) == count else weights[heads]

    def _write_unreached(self, layer: int) -> None:
        """Store differences that depend on no circuit: what reads only ablated ones."""
        graph, ablated = self.runs.graph, self.runs.ablated
        if ablated.live[2 * layer] is None:
            return
        known = (self.plan.writers > NOWHERE) & ~self.plan.computed
        outputs, mlp = (
            ablated.live[site] - ablated.sites[site]
            for site in (2 * layer, 2 * layer + 1)
        )
        heads = np.flatnonzero(known[graph.head_writers(layer)])
        if len(heads):
            with self._head_weights(layer, heads) as weights:
                chosen = outputs[..., heads, :].to(weights.device)
                added = torch.einsum("btnw,nwd->nbtd", chosen, weights)
            self.write(graph.head_writers(layer)[0] + heads, added[:, None])
        writer = graph.mlp_writer(layer)
        if known[writer]:
            self.write(range(writer, writer + 1), mlp[None, None, :, :, 0])

    def _add_norm(self, layer: int) -> None:
        """Let what reads the heads of a layer read the norm of their sum."""
        module = self.readers[layer].heads_norm
        if module is None:
            return
        with on_device(module):
            norm = norm_of(self.model, module)
        for buffer in self.buffers.values():
            first, last = buffer.slots(self.runs.graph.head_writers(layer))
            if last > first:
                ablated = self.runs.ablated.sums[layer][:, -buffer.rows[2] :]
                buffer.norms.append(SumNorm(first, last, norm, ablated))

    def cached(self, values: dict[str, Tensor], device) -> dict[str, Tensor]:
        """Return queries, keys and values of a run for every row and reader, copied."""
        times = self.runs.graph.kv_readers // self.keys
        found = {}
        for kind, value in values.items():
            shared = value if kind == "q" else value.repeat_interleave(times, dim=2)
            found[kind] = self._repeat(shared.to(device))
        return found

    def _repeat(self, values: Tensor) -> Tensor:
        """Return values of all prompts, or the same for all, for every row."""
        by_prompt = values.expand(self.batch, *values.shape[1:])
        return by_prompt.repeat(self.circuits, *[1] * (values.ndim - 1))

    @property
    def keys(self) -> int:
        """How many keys the model has."""
        return readers_of_kinds(self.model)["k"]


def _unchanged(stream: Tensor, *_arguments, **_named) -> Tensor:
    return stream


def _returning(value) -> Callable:
    return lambda *_arguments, **_named: value
