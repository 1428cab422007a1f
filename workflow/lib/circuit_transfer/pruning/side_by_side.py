"""How many circuits of edges run side by side on the device that there is."""

import os

import torch
from torch import nn

from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.memory import PASS_BYTES, PASS_SHARE, fitting_circuits


def room_on(device: torch.device) -> int:
    """Return how many bytes circuits may take side by side on a device."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(PASS_BYTES, int(PASS_SHARE * memory))


def circuits_at_once(model: nn.Module, kv: str, batch: PairBatch, room: int) -> int:
    """Return how many circuits of a batch fit side by side, at least one.

    Args:
        model: the model.
        kv: which readers there are, see `models.edges.edge_graph`.
        batch: the pairs that a step runs.
        room: bytes that the circuits may take, see `room_on`.
    """
    shape = model_shape(model.config, dtype=str(model.dtype).removeprefix("torch."))
    return fitting_circuits(shape, kv, *batch.clean.shape, room)
