"""Queries, keys and values of readers whose residual streams differ."""

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions.edge_buffers import statistics
from circuit_transfer.interventions.projections import projection_weights
from circuit_transfer.models.architectures import LayerReaders, Norm, norm_of
from circuit_transfer.models.edges import KINDS
from circuit_transfer.models.weights import on_device


def project_streams(
    model: nn.Module,
    layer: LayerReaders,
    streams: Tensor,
    which: np.ndarray,
    readers: dict[str, np.ndarray],
    repeats: int,
) -> Tensor:
    """Return the queries, keys and values that a layer computes from given streams.

    The norm's weight is applied to the projections and its scale to their outputs: the
    streams themselves are many and wide.

    Args:
        model: the model.
        layer: the modules of the layer.
        streams: different residual streams, `(streams, rows, d_model)`.
        which: the number of every reader's stream; where there are as many streams as
            readers, they are in the order of the readers.
        readers: by kind, which queries, keys and values these are.
        repeats: how many readers of keys and values share the weights of one.

    Returns:
        `(readers, rows, d_head)`, in the order of queries, keys and values.
    """
    with ExitStack() as stack:
        modules = [*layer.projections, layer.attention_norm]
        for module in filter(None, modules):
            stack.enter_context(on_device(module))
        weight, bias, norm = folded_weights(model, layer, readers, repeats)
        streams = streams.to(weight.device)
        if len(streams) == len(weight):
            return _projected(streams, weight, bias, norm)
        found = streams.new_empty(len(weight), streams.shape[1], weight.shape[1])
        for number, stream in enumerate(streams):
            own = torch.from_numpy(np.flatnonzero(which == number)).to(weight.device)
            joint = weight[own].flatten(0, 1), bias[own].flatten()
            parts = _projected(stream[None], *(each[None] for each in joint), norm)
            found[own] = parts[0].unflatten(1, (len(own), -1)).transpose(0, 1)
        return found


def folded_weights(
    model: nn.Module,
    layer: LayerReaders,
    readers: dict[str, np.ndarray],
    repeats: int,
) -> tuple[Tensor, Tensor, Norm | None]:
    """Return weights and biases that apply the norm's too, and the norm.

    Args:
        model: the model.
        layer: the modules of the layer, with their weights loaded.
        readers: by kind, which queries, keys and values these are.
        repeats: how many readers of keys and values share the weights of one.

    Returns:
        Weights `(readers, d_head, d_model)`, biases `(readers, d_head)` and the norm
        before the projections, if there is one.
    """
    norm = layer.attention_norm
    norm = None if norm is None else norm_of(model, norm)
    weight, bias = _chosen(projection_weights(model, layer), readers, repeats)
    return *_folded(weight, bias, norm), norm


def _projected(
    streams: Tensor, weight: Tensor, bias: Tensor, norm: Norm | None
) -> Tensor:
    """Return projections of streams `(n, rows, d_model)`, by folded weights."""
    found = torch.bmm(streams, weight.mT)
    if norm is not None:
        mean, scale = statistics(streams, norm)
        if mean is not None:
            found -= mean * weight.sum(-1)[:, None]
        found *= scale
    return found.add_(bias[:, None])


def _folded(
    weight: Tensor, bias: Tensor | None, norm: Norm | None
) -> tuple[Tensor, Tensor]:
    """Return weights and biases that apply a norm's weight and bias too."""
    total = weight.new_zeros(weight.shape[:2]) if bias is None else bias
    if norm is None:
        return weight, total
    if norm.bias is not None:
        total = total + weight @ norm.bias
    return weight * norm.weight, total


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
