"""Run a model with a share of every edge, with gradients for the shares.

An edge with the share m carries m times what its writer computes plus 1 - m times what
it writes in the ablated run.
"""

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.edge_passes import EdgePass, EdgeRuns
from circuit_transfer.interventions.edge_plans import Plan
from circuit_transfer.interventions.edge_readers import folded_weights
from circuit_transfer.interventions.soft_buffers import SoftBuffer
from circuit_transfer.interventions.storage import Storage
from circuit_transfer.models.edge_paths import ANSWER, EVERYWHERE
from circuit_transfer.models.edges import KINDS
from circuit_transfer.models.weights import on_device


def soft_edge_logits(
    model: nn.Module,
    runs: EdgeRuns,
    plan: Plan,
    masks: Tensor,
    storage: Storage | None = None,
) -> Tensor:
    """Return the answer logits of soft circuits, `(circuits * batch, vocabulary)`.

    There are gradients for the masks, and for weights of the layers that require them.

    Args:
        model: the model.
        runs: what the circuits share.
        plan: of one circuit, with every edge that any mask may have a share of; nothing
            else is computed. See `edge_plans.plan_edges`.
        masks: shares of the edges, between 0 and 1, float32 `(circuits, n_edges)`.
        storage: memory that passes use one after the other, each of which must have
            gone back before the next begins; new memory by default.

    Raises:
        ValueError: the plan is of several circuits, or the masks of another graph.
    """
    if len(plan.kept) != 1 or masks.shape[1:] != (runs.graph.n_edges,):
        raise ValueError(
            f"a plan of {len(plan.kept)} circuits and masks {tuple(masks.shape)}: "
            f"expected a plan of 1, and (circuits, {runs.graph.n_edges})"
        )
    running = _SoftPass(model, runs, plan, masks, storage or Storage())
    logits = running.logits()
    for buffer in running.buffers.values():
        # By autograd it refers to its buffer, so that neither would ever be freed.
        buffer.token = None
    return logits


class _SoftPass(EdgePass):
    """A pass of circuits that have a share of every edge."""

    def __init__(
        self,
        model: nn.Module,
        runs: EdgeRuns,
        plan: Plan,
        masks: Tensor,
        storage: Storage,
    ):
        graph, self.storage = runs.graph, storage
        storage.passes += 1
        kept = torch.from_numpy(graph.flat(plan.kept)).to(masks.device)
        writers, readers = (torch.from_numpy(each) for each in graph.ends)
        self.shares = masks.new_zeros(len(masks), *graph.legal.shape).index_put(
            (torch.arange(len(masks))[:, None], writers, readers), masks * kept
        )
        super().__init__(model, runs, plan, len(masks))

    def buffer(self, place: int, length: int, like: Tensor) -> SoftBuffer:
        rows = self.circuits, self.batch, length
        writers = self.plan.stored(place)
        return SoftBuffer(writers, rows, like, self.storage, place)

    def read(self, reader: int, place: int, stream: Tensor) -> Tensor:
        buffer = self.buffers[place]
        shares = self._shares(np.array([reader]), place)
        read = buffer.read_one(shares, stream[:, -buffer.rows[2] :])
        return read.unflatten(0, (-1, buffer.rows[2]))

    def write_heads(
        self, place: int, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> None:
        self.buffers[place].write_products(writers, outputs, weights)
        if place == EVERYWHERE:
            length = self.buffers[place].rows[2]
            last = outputs.unflatten(1, (-1, length))[:, :, -1]
            self.buffers[ANSWER].write_products(writers, last, weights)

    def project(self, layer: int, device: torch.device) -> dict[str, Tensor]:
        graph = self.runs.graph
        parts: dict[str, list[tuple[np.ndarray, Tensor]]] = {kind: [] for kind in KINDS}
        for place in (EVERYWHERE, ANSWER):
            numbers = self.plan.attention(layer, place)
            if not len(numbers):
                continue
            own = {}
            for kind in KINDS:
                every = np.asarray(graph.attention_readers(layer, kind))
                own[kind] = np.intersect1d(numbers, every) - every[0]
            projected = self._projected_streams(layer, place, numbers, own)
            split = projected.split([len(own[kind]) for kind in KINDS], dim=2)
            for kind, part in zip(KINDS, split, strict=True):
                parts[kind].append((own[kind], part.to(device)))
        return self._joined(layer, parts, device)

    def _projected_streams(
        self, layer: int, place: int, numbers: np.ndarray, own: dict[str, np.ndarray]
    ) -> Tensor:
        """Return what a layer computes, `(rows, position, readers, d_head)`."""
        readers, buffer = self.readers[layer], self.buffers[place]
        with ExitStack() as stack:
            for module in filter(None, [*readers.projections, readers.attention_norm]):
                stack.enter_context(on_device(module))
            repeats = self.runs.graph.kv_readers // self.keys
            weights = folded_weights(self.model, readers, own, repeats)
            stream = self.runs.ablated.streams[layer][0][:, -buffer.rows[2] :]
            shares = self._shares(numbers, place)
            projected = buffer.project(shares, stream, *weights)
        return projected.unflatten(1, (-1, buffer.rows[2])).permute(1, 2, 0, 3)

    def _joined(
        self, layer: int, parts: dict[str, list], device: torch.device
    ) -> dict[str, Tensor]:
        """Return all queries, keys and values: those computed, the others ablated."""
        length = self.runs.ids.shape[1]
        sizes = {
            kind: len(self.runs.graph.attention_readers(layer, kind)) for kind in KINDS
        }
        found = {}
        for kind, pieces in parts.items():
            whole = [
                part
                for own, part in pieces
                if len(own) == sizes[kind] and part.shape[1] == length
            ]
            if whole:
                found[kind] = whole[0]
        missing = {
            kind: each
            for kind, each in self.runs.ablated.projections[layer].items()
            if kind not in found
        }
        for kind, value in self.cached(missing, device).items():
            for own, part in parts[kind]:
                value[:, -part.shape[1] :, own] = part.to(value)
            found[kind] = value
        return found

    def _shares(self, numbers: np.ndarray, place: int) -> Tensor:
        """Return shares of edges that readers of one layer read from a buffer."""
        writers = self.buffers[place].writers
        slots = writers[: np.searchsorted(writers, self.runs.graph.before[numbers[0]])]
        shares = self.shares[:, torch.from_numpy(slots)]
        return shares[:, :, torch.from_numpy(numbers)]
