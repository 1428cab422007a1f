"""Queries, keys and values of readers whose residual streams differ."""

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.edge_buffers import statistics
from circuit_transfer.interventions.projections import projection_weights
from circuit_transfer.models.architectures import LayerReaders, norm_of
from circuit_transfer.models.edges import KINDS
from circuit_transfer.models.weights import on_device


def project_streams(
    model: nn.Module,
    layer: LayerReaders,
    streams: Tensor,
    readers: dict[str, np.ndarray],
    repeats: int,
) -> Tensor:
    """Return the queries, keys and values that a layer computes from given streams.

    The norm's weight is applied to the projections and its scale to their outputs: the
    streams themselves are many and wide.

    Args:
        model: the model.
        layer: the modules of the layer.
        streams: a residual stream for every reader, `(readers, rows, d_model)`.
        readers: by kind, which queries, keys and values they are.
        repeats: how many readers of keys and values share the weights of one.

    Returns:
        `(readers, rows, d_head)`, in the order of queries, keys and values.
    """
    norm = None
    with ExitStack() as stack:
        modules = [*layer.projections, layer.attention_norm]
        for module in filter(None, modules):
            stack.enter_context(on_device(module))
        if layer.attention_norm is not None:
            norm = norm_of(model, layer.attention_norm)
        weight, bias = _chosen(projection_weights(model, layer), readers, repeats)
        streams = streams.to(weight.device)
        if norm is None:
            found = torch.bmm(streams, weight.mT)
        else:
            found = _through_norm(streams, weight, norm)
        return found if bias is None else found + bias[:, None]


def _through_norm(streams: Tensor, weight: Tensor, norm) -> Tensor:
    mean, scale = statistics(streams, norm)
    scaled = weight * norm.weight
    found = torch.bmm(streams, scaled.mT)
    if mean is not None:
        found -= mean * scaled.sum(-1)[:, None]
    found *= scale
    return found if norm.bias is None else found + (weight @ norm.bias)[:, None]


def _chosen(
    weights: dict[str, tuple[Tensor, Tensor | None]],
    readers: dict[str, np.ndarray],
    repeats: int,
) -> tuple[Tensor, Tensor | None]:
    """Return the weights `(readers, d_head, d_model)` and biases of some readers."""
    parts, biases = [], []
    for kind in KINDS:
        weight, bias = weights[kind]
        shared = 1 if kind == "q" else repeats
        own = torch.from_numpy(readers[kind] // shared).to(weight.device)
        parts.append(weight[own])
        biases += [] if bias is None else [bias[own]]
    return torch.cat(parts), torch.cat(biases) if biases else None
