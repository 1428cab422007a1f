"""Score edges exactly: ablate one alone, and take the drop of the logit difference.

An edge changes only what its reader computes. So it is patching of one query, key,
value or MLP by what it computes of the residual stream without the edge, and nothing
below the reader runs again.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.edge_steps import BatchScores
from circuit_transfer.interventions import answer_logits
from circuit_transfer.interventions.edge_patches import (
    at_answer_position,
    mlp_values,
    resumed_after,
    resumed_at_attention,
    values_by_reader,
)
from circuit_transfer.interventions.edge_readers import project_streams
from circuit_transfer.interventions.edge_references import EdgeRun, run_edges
from circuit_transfer.interventions.projections import readers_of_kinds
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.architectures import (
    layer_readers,
    node_sites,
    projection_weight,
)
from circuit_transfer.models.edges import KINDS, QUERY_HEAD, Graph
from circuit_transfer.models.weights import on_device
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass

MLP = "mlp"


def exact_edges(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    edges: np.ndarray,
    *,
    ablation: str = "counterfactual",
    resume: Resume = NO_RESUME,
) -> Tensor:
    """Ablate some edges, each alone, on every pair.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs.
        graph: the edges of the model.
        edges: the numbers of the edges to ablate, in any order.
        ablation: what an ablated edge carries, see `ablations`.
        resume: saves the effects on the batches that are done.

    Returns:
        The drop of the logit difference, float32 `(examples, edges)`.
    """
    ablated = ablation_of(model, batches, ablation)
    resume.expect(batches=[len(batch) for batch in batches])
    done: list[Tensor] = []
    state = resume.restore("batches", lambda: State({"drops": torch.cat(done)}, {}))
    left = list(batches)
    if state is not None:
        done.append(state.tensors["drops"])
        rows = len(done[0])
        while rows:
            rows -= len(left.pop(0))
    first = len(batches) - len(left)
    for batch in progress(left, len(batches), "batch", done=first):
        done.append(_drops(model, ablated.shorten(batch), ablated, graph, edges)[0])
        resume.save()
    return torch.cat(done)


def exact_scores(
    model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph
) -> BatchScores:
    """Ablate every edge alone and take the drop of the metric.

    Args:
        model: a causal language model.
        batch: the pairs, without the positions that are cached.
        ablated: what replaces the outputs of writers.
        graph: the edges.
    """
    drops, effect = _drops(model, batch, ablated, graph, np.arange(graph.n_edges))
    matrix = graph.matrix(drops.numpy(), outside=0.0)
    return BatchScores(torch.from_numpy(matrix), effect)


@torch.inference_mode()
def _drops(
    model: nn.Module,
    batch: PairBatch,
    ablated: Ablation,
    graph: Graph,
    edges: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """Return the drops `(batch, edges)`, and that of ablating all, `(batch,)`."""
    runs = _Runs(model, batch, ablated, graph)
    drops = torch.empty(len(batch), len(edges))
    together = max(1, rows_per_pass(model, batch) // len(batch))
    passes = [
        (kind, layer, part)
        for kind, layer, chosen in _by_place(graph, edges)
        for part in np.array_split(chosen, -(-len(chosen) // together))
    ]
    sized = progress(passes, len(edges), "edge", size=lambda each: len(each[2]))
    for kind, layer, part in sized:
        writers, readers = (ends[edges[part]] for ends in graph.ends)
        diffs = runs.without(kind, layer, writers, readers)
        drops[:, torch.from_numpy(part)] = (runs.full - diffs).T.cpu()
    return drops, (runs.full - runs.empty).cpu()


def _by_place(graph: Graph, edges: np.ndarray) -> Iterator[tuple]:
    """Yield what kind of reader, of which layer, and which of the edges lead to it.

    Those of one writer follow each other.
    """
    writers, readers = (ends[edges] for ends in graph.ends)
    order = np.lexsort((readers, writers))
    for layer in range(graph.layers):
        mlp, first = graph.mlp_reader(layer), graph.attention_readers(layer, "q").start
        of_heads = (readers[order] >= first) & (readers[order] < mlp)
        for kind, chosen in ((KINDS, of_heads), (MLP, readers[order] == mlp)):
            if chosen.any():
                yield kind, layer, order[chosen]
    chosen = readers[order] == len(graph.readers) - 1
    if chosen.any():
        yield None, graph.layers, order[chosen]


@dataclass
class _Runs:
    """The clean run of a batch, and what its writers write more than ablated ones."""

    model: nn.Module
    batch: PairBatch
    ablated: Ablation
    graph: Graph

    @cached_property
    def clean(self) -> EdgeRun:
        return run_edges(self.model, self.batch.clean, after=self.batch.prefix)

    @cached_property
    def other(self) -> EdgeRun:
        """The run with everything ablated, the token embeddings too."""
        batch, ablated = self.batch, self.ablated
        if ablated.constant is None:
            return run_edges(self.model, batch.corrupted, after=batch.prefix)
        embeddings = ablated.embedding.expand(*batch.clean.shape, -1)
        return run_edges(self.model, embeddings=embeddings, outputs=ablated.constant)

    @cached_property
    def full(self) -> Tensor:
        return self.batch.logit_diff(self.clean.logits)

    @cached_property
    def empty(self) -> Tensor:
        return self.batch.logit_diff(self.other.logits)

    def without(
        self,
        kind: Sequence[str] | str | None,
        layer: int,
        writers: np.ndarray,
        readers: np.ndarray,
    ) -> Tensor:
        """Return logit differences without an edge each, `(edges, batch)`.

        Args:
            kind: of the readers: queries, keys and values, an MLP, or the logits.
            layer: of the readers.
            writers: numbers of the writers.
            readers: numbers of the readers.
        """
        times = len(writers)
        repeated, after = self.batch.repeat(times), self.batch.prefix
        if kind is None:
            context = self._at_logits(writers)
        elif kind == MLP:
            context = self._at_mlp(layer, writers)
        else:
            context = self._at_attention(layer, writers, readers)
            after = self._prefix(layer)
        with context, at_answer_position(self.model):
            logits = answer_logits(self.model, repeated.clean, after=after)
        return repeated.logit_diff(logits).unflatten(0, (times, -1))

    def _at_logits(self, writers: np.ndarray) -> AbstractContextManager[None]:
        read = self._streams(self.clean.final, writers)
        return self._resumed_after(self.graph.layers - 1, read)

    def _at_mlp(self, layer: int, writers: np.ndarray) -> AbstractContextManager[None]:
        # Only the answer reads what the last layer's MLP writes.
        last = layer == self.graph.layers - 1
        kept = slice(-1, None) if last else slice(None)
        after = self.clean.final if last else self.clean.streams[layer + 1][0]
        read = self._streams(self.clean.streams[layer][1][:, kept], writers)
        value = mlp_values(self.model, layer, read.flatten(0, 1))
        own = self.clean.sites[2 * layer + 1][:, kept, 0]
        change = value.unflatten(0, (len(writers), -1)) - own
        return self._resumed_after(layer, after + change.to(after))

    def _resumed_after(
        self, layer: int, streams: Tensor
    ) -> AbstractContextManager[None]:
        """Go on after a layer, from `(edges, batch, position or 1, d_model)`."""
        positions = self.batch.clean.shape[1]
        whole = streams.expand(-1, -1, positions, -1).flatten(0, 1)
        return resumed_after(self.model, layer, whole)

    def _at_attention(
        self, layer: int, writers: np.ndarray, readers: np.ndarray
    ) -> AbstractContextManager[None]:
        """Go on from a layer's values, with that of one reader changed in each row."""
        clean = self.clean.projections[layer]
        clean = values_by_reader(self.model, clean, self.graph.kv)
        values = {
            kind: value.expand(len(writers), *value.shape).clone()
            for kind, value in clean.items()
        }
        rows, own = {}, {}
        for kind in KINDS:
            of_kind = self.graph.attention_readers(layer, kind)
            rows[kind] = np.flatnonzero(np.isin(readers, of_kind))
            own[kind] = readers[rows[kind]] - of_kind.start
        order = np.concatenate([*rows.values()])
        changed = self._changed(layer, writers[order], own)
        for kind, value in zip(KINDS, changed, strict=True):
            row, head = torch.from_numpy(rows[kind]), torch.from_numpy(own[kind])
            values[kind][row, :, :, head] = value.to(values[kind])
        flat = {kind: value.flatten(0, 1) for kind, value in values.items()}
        return resumed_at_attention(self.model, layer, flat, self.clean, self.graph.kv)

    def _changed(
        self, layer: int, writers: np.ndarray, own: dict[str, np.ndarray]
    ) -> Sequence[Tensor]:
        """Return by kind what readers compute that read without a writer each.

        Args:
            layer: of the readers.
            writers: for each reader, in the order of the kinds.
            own: by kind the numbers of the readers.

        Returns:
            `(readers, batch, position, d_head)` each.
        """
        unique = [*dict.fromkeys(writers)]
        which = np.array([unique.index(writer) for writer in writers])
        streams = self._streams(self.clean.streams[layer][0], np.array(unique))
        found = project_streams(
            self.model,
            layer_readers(self.model)[layer],
            streams.flatten(1, 2),
            which,
            own,
            self.graph.kv_readers // readers_of_kinds(self.model)["k"],
        )
        found = found.unflatten(1, streams.shape[1:3])
        return found.split([len(own[kind]) for kind in KINDS])

    def _streams(self, stream: Tensor, writers: np.ndarray) -> Tensor:
        """Return a stream without a writer each, `(writers, *stream.shape)`."""
        differences = self._differences[torch.from_numpy(writers)]
        return stream - differences[:, :, -stream.shape[1] :].to(stream)

    def _prefix(self, layer: int):
        sizes, prefix = readers_of_kinds(self.model), self.batch.prefix
        if prefix is None or self.graph.kv != QUERY_HEAD:
            return prefix
        return prefix.repeated(sizes["q"] // sizes["k"], slice(layer, layer + 1))

    @cached_property
    def _differences(self) -> Tensor:
        """What ablating each writer alone takes from the residual stream.

        `(n_writers, batch, position, d_model)`.
        """
        clean, other, model = self.clean, self.other, self.model
        start = clean.streams[0][0]
        parts = [(start - other.streams[0][0].to(start))[None]]
        sites = zip(node_sites(model), clean.sites, other.sites, strict=True)
        for number, ((module, at_input, count), own, ablated) in enumerate(sites):
            change = own - ablated.to(own)
            if not at_input:
                parts.append(change.movedim(2, 0).to(start))
                continue
            with on_device(module):
                weight = projection_weight(module).unflatten(1, (count, -1))
                written = torch.einsum("bthz,dhz->hbtd", change, weight.to(change))
            norm, total = layer_readers(model)[number // 2].heads_norm, None
            if norm is not None:
                total = clean.sums[number // 2]
                written = norm(total) - norm(total - written)
            parts.append(written.to(start))
        return torch.cat(parts)
