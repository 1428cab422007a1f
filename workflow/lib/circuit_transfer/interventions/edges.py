"""Run a plain Hugging Face model as circuits of edges, several in one pass."""

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.edge_buffers import Buffer, distinct
from circuit_transfer.interventions.edge_passes import EdgePass, EdgeRuns
from circuit_transfer.interventions.edge_plans import Plan
from circuit_transfer.interventions.edge_readers import project_streams
from circuit_transfer.models.edge_paths import ANSWER, EVERYWHERE
from circuit_transfer.models.edges import KINDS


def edge_logits(model: nn.Module, runs: EdgeRuns, plan: Plan) -> Tensor:
    """Return the answer logits of circuits, `(circuits * batch, vocabulary)`.

    Args:
        model: the model.
        runs: what the circuits share.
        plan: what they compute, see `edge_plans.plan_edges`.
    """
    return _CircuitPass(model, runs, plan, len(plan.kept)).logits()


class _CircuitPass(EdgePass):
    """A pass of circuits that have an edge or do not have it."""

    # What reads only the input is as in the clean or in the ablated run.
    first_projected = 1

    def buffer(self, place: int, length: int, like: Tensor) -> Buffer:
        rows = self.circuits, self.batch, length
        return Buffer(self.plan.stored(place), rows, like)

    def read(self, reader: int, place: int, stream: Tensor) -> Tensor:
        columns = self._columns(np.array([reader]), place)
        read = self._read(columns, place, stream)
        return read[0].unflatten(0, (-1, self.buffers[place].rows[2]))

    def write_heads(
        self, place: int, writers: np.ndarray, outputs: Tensor, weights: Tensor
    ) -> None:
        added = self.buffers[place].write_products(writers, outputs, weights)
        if place == EVERYWHERE:
            self.buffers[ANSWER].write(writers, added)

    def project(self, layer: int, device: torch.device) -> dict[str, Tensor]:
        """Return queries, keys and values, `(rows, position, readers, d_head)`."""
        found = self.cached(self.runs.ablated.projections[layer], device)
        if layer == 0:
            # What reads only the input is as in the clean or in the ablated run.
            clean = self.cached(self.runs.clean.projections[0], device)
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
        repeats = graph.kv_readers // self.keys
        projected = project_streams(self.model, readers, streams, which, own, repeats)
        length = self.buffers[place].rows[2]
        projected = projected.unflatten(1, (-1, length)).permute(1, 2, 0, 3)
        parts = projected.split([len(own[kind]) for kind in KINDS], dim=2)
        for kind, part in zip(KINDS, parts, strict=True):
            found[kind][:, -length:, own[kind]] = part.to(found[kind])

    def _columns(self, numbers: np.ndarray, place: int) -> np.ndarray:
        """Return which slots of a buffer readers of the same layer and kind read."""
        kept = self.plan.kept[:, : self.runs.graph.before[numbers[0]], numbers]
        return self.buffers[place].columns(kept)

    def _read(self, columns: np.ndarray, place: int, stream: Tensor) -> Tensor:
        buffer = self.buffers[place]
        return buffer.read(columns, stream[:, -buffer.rows[2] :])

    def _kept_input(self, kind: str) -> Tensor:
        """Return which readers of the first layer read the input, for every row."""
        own = np.asarray(self.runs.graph.attention_readers(0, kind))
        kept = torch.from_numpy(self.plan.kept[:, 0, own])
        return kept.repeat_interleave(self.batch, dim=0)[:, None, :, None]
