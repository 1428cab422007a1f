"""Run a plain Hugging Face model as circuits of edges, several in one pass.

Every reader has a residual stream of its own: that of the ablated run, plus the
difference of the writers of its kept edges, running minus ablated. The stream that the
modules of `transformers` pass on is not used.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.counting import counted
from circuit_transfer.interventions.edge_buffers import Buffer, SumNorm, distinct
from circuit_transfer.interventions.edge_plans import Plan
from circuit_transfer.interventions.edge_readers import project_streams
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
    """

    graph: Graph
    ids: Tensor
    ablated: EdgeRun
    clean: EdgeRun
    after: Prefix | None = None


def edge_logits(model: nn.Module, runs: EdgeRuns, plan: Plan) -> Tensor:
    """Return the answer logits of circuits, `(circuits * batch, vocabulary)`.

    Args:
        model: the model.
        runs: what the circuits share.
        plan: what they compute, see `edge_plans.plan_edges`.
    """
    circuits = len(plan.kept)
    running = _EdgePass(model, runs, plan)
    with (
        repeated_keys(model, runs.graph.kv),
        replacing(dict(running.forwards())),
    ):
        return answer_logits(model, runs.ids.repeat(circuits, 1), after=runs.after)


class _EdgePass:
    """One pass of several circuits: the forward functions of the modules."""

    def __init__(self, model: nn.Module, runs: EdgeRuns, plan: Plan):
        self.model, self.runs, self.plan = model, runs, plan
        self.readers, self.sites = layer_readers(model), node_sites(model)
        self.circuits, self.batch = len(plan.kept), len(runs.ids)
        clean, ablated = runs.clean.streams[0][0], runs.ablated.streams[0][0]
        rows = self.circuits, self.batch
        self.buffers = {
            place: Buffer(plan.stored(place), (*rows, length), clean)
            for place, length in ((EVERYWHERE, clean.shape[1]), (ANSWER, 1))
        }
        self._write(range(1), (clean - ablated)[None, None])
        for layer in range(len(self.readers)):
            self._add_norm(layer)
            self._write_unreached(layer)

    def forwards(self) -> Iterator[tuple[nn.Module, Callable]]:
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
                    found.update(self._project(layer, stream.device))
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
        if layer == 0:
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

    def _project(self, layer: int, device: torch.device) -> dict[str, Tensor]:
        """Return queries, keys and values, `(rows, position, readers, d_head)`."""
        found = self._cached(self.runs.ablated.projections[layer], device)
        if layer == 0:
            # What reads only the input is as in the clean or in the ablated run.
            clean = self._cached(self.runs.clean.projections[0], device)
            return {
                kind: torch.where(self._kept_input(kind).to(device), clean[kind], each)
                for kind, each in found.items()
            }
        for place in (EVERYWHERE, ANSWER):
            self._project_live(layer, place, found)
        return found

    def _project_live(self, layer: int, place: int, found: dict[str, Tensor]) -> None:
        """Replace the queries, keys and values that differ from the ablated ones."""
        graph, readers = self.runs.graph, self.readers[layer]
        numbers = self.plan.attention(layer, place)
        if not len(numbers):
            return
        columns, which = distinct(self._columns(numbers, place))
        ablated = self.runs.ablated.streams[layer][0]
        streams = self._read(columns, place, ablated)
        own = {}
        for kind in KINDS:
            every = graph.attention_readers(layer, kind)
            own[kind] = (
                numbers[(numbers >= every[0]) & (numbers <= every[-1])] - every[0]
            )
        repeats = graph.kv_readers // self._keys
        projected = project_streams(self.model, readers, streams, which, own, repeats)
        length = self.buffers[place].rows[2]
        projected = projected.unflatten(1, (-1, length)).permute(1, 2, 0, 3)
        parts = projected.split([len(own[kind]) for kind in KINDS], dim=2)
        for kind, part in zip(KINDS, parts, strict=True):
            found[kind][:, -length:, own[kind]] = part.to(found[kind])

    def _mlp(self, layer: int, feed_forward: nn.Module, mlp: nn.Module) -> Callable:
        norm = self.readers[layer].mlp_norm
        steps = [norm, feed_forward, *([mlp] if mlp is not feed_forward else [])]
        steps = [each.forward for each in steps if each is not None]
        reader, site = self.runs.graph.mlp_reader(layer), 2 * layer + 1

        def forward(stream: Tensor) -> Tensor:
            place = int(self.plan.readers[reader])
            columns = self._columns(np.array([reader]), place)
            read = self._read(columns, place, self.runs.ablated.streams[layer][1])
            length = self.buffers[place].rows[2]
            value = read[0].unflatten(0, (-1, length)).to(stream.device)
            for step in steps:
                value = step(value)
            ablated = self.runs.ablated.sites[site][:, -length:, 0]
            by_circuit = value.unflatten(0, (self.circuits, -1))
            writer = self.runs.graph.mlp_writer(layer)
            self._write(range(writer, writer + 1), (by_circuit - ablated)[None])
            return ZERO

        return forward

    def _final(self, norm: Callable) -> Callable:
        def forward(stream: Tensor) -> Tensor:
            last = np.array([len(self.runs.graph.readers) - 1])
            columns = self._columns(last, ANSWER)
            read = self._read(columns, ANSWER, self.runs.ablated.final)
            # At one position, but of the shape that the model expects.
            return norm(read[0][:, None].to(stream.device)).expand_as(stream)

        return forward

    def _columns(self, numbers: np.ndarray, place: int) -> np.ndarray:
        """Return which slots of a buffer readers of the same layer and kind read."""
        kept = self.plan.kept[:, : self.runs.graph.before[numbers[0]], numbers]
        return self.buffers[place].columns(kept)

    def _read(self, columns: np.ndarray, place: int, stream: Tensor) -> Tensor:
        buffer = self.buffers[place]
        return buffer.read(columns, stream[:, -buffer.rows[2] :])

    def _write(self, writers: range | np.ndarray, differences: Tensor) -> None:
        for buffer in self.buffers.values():
            buffer.write(np.asarray(writers), differences)

    def _write_heads(self, layer: int, live: Tensor) -> None:
        """Store what the heads of a layer add to the stream, by their live outputs.

        Args:
            layer: the layer.
            live: of all its heads, `(rows, position, heads, d_head)`.
        """
        ablated = self.runs.ablated.sites[2 * layer].to(live.device)
        differences = live.unflatten(0, (self.circuits, -1)) - ablated
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
                added = buffer.write_products(writers[own], outputs, weights)
            if place == EVERYWHERE:
                self.buffers[ANSWER].write(writers[own], added)

    @contextmanager
    def _head_weights(self, layer: int, heads: np.ndarray) -> Iterator[Tensor]:
        """Yield what projects the outputs of heads, `(heads, d_head, d_model)`."""
        projection, _, count = self.sites[2 * layer]
        with on_device(projection):
            weights = projection_weight(projection).T.unflatten(0, (count, -1))
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
            self._write(graph.head_writers(layer)[0] + heads, added[:, None])
        writer = graph.mlp_writer(layer)
        if known[writer]:
            self._write(range(writer, writer + 1), mlp[None, None, :, :, 0])

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

    def _cached(self, values: dict[str, Tensor], device) -> dict[str, Tensor]:
        """Return queries, keys and values of a run for every row and reader, copied."""
        times = self.runs.graph.kv_readers // self._keys
        found = {}
        for kind, value in values.items():
            shared = value if kind == "q" else value.repeat_interleave(times, dim=2)
            found[kind] = self._repeat(shared.to(device))
        return found

    def _repeat(self, values: Tensor) -> Tensor:
        """Return values of all prompts, or the same for all, for every row."""
        by_prompt = values.expand(self.batch, *values.shape[1:])
        return by_prompt.repeat(self.circuits, *[1] * (values.ndim - 1))

    def _kept_input(self, kind: str) -> Tensor:
        """Return which readers of the first layer read the input, for every row."""
        own = np.asarray(self.runs.graph.attention_readers(0, kind))
        kept = torch.from_numpy(self.plan.kept[:, 0, own])
        return kept.repeat_interleave(self.batch, dim=0)[:, None, :, None]

    @property
    def _keys(self) -> int:
        return readers_of_kinds(self.model)["k"]


def _unchanged(stream: Tensor, *_arguments, **_named) -> Tensor:
    return stream


def _returning(value) -> Callable:
    return lambda *_arguments, **_named: value
