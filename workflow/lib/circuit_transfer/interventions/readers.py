"""Observe what writes to the residual stream of a model and what reads from it.

The gradient at a reader is that of what it computes: of queries, keys and values, whose
weights lead back to the residual stream. So nothing that a reader reads is ever made
for it alone. What only the answer depends on is computed at the last position alone:
in the last layer, the outputs of the heads and the MLP.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.projections import (
    divided,
    joined,
    readers_of_kinds,
    repeated_keys,
)
from circuit_transfer.models.architectures import (
    LayerReaders,
    final_norm,
    layer_readers,
    node_sites,
)
from circuit_transfer.models.edges import KINDS, QUERY_HEAD


@dataclass(frozen=True)
class Observed:
    """One forward pass, see `observed`; None for what it did not compute.

    All tensors are part of the autograd graph, if there is one. The outputs of the last
    layer and what its MLP reads have the last position alone.

    Attributes:
        outputs: of the nodes by site, `(batch, position, nodes, width)`.
        streams: by layer, what its heads read before the norm, `(batch, position,
            d_model)`, as all that follow.
        sums: by layer, the sum of the heads where a norm follows it.
        projections: by layer, the outputs of the modules that compute queries, keys and
            values; keys and values by `kv`.
        mlps: by layer, what its MLP reads before the norm, with a gradient of its own.
        logits: a list of one, what the logits read before the norm, likewise; only its
            last position is that of the model.
    """

    outputs: list[Tensor | None]
    streams: list[Tensor | None]
    sums: list[Tensor | None]
    projections: list[list[Tensor | None]]
    mlps: list[Tensor | None]
    logits: list[Tensor | None]


@contextmanager
def observed(model: nn.Module, kv: str = QUERY_HEAD) -> Iterator[Observed]:
    """Yield what the forward pass in the context writes and reads.

    One forward pass per context. A cached prefix must have a key for every reader, see
    `projections.repeated_keys`.

    Args:
        model: the model to hook.
        kv: whether there is a reader of keys and values for each `query-head` or each
            `kv-head`, see `models.edges`.
    """
    layers, sites = layer_readers(model), node_sites(model)
    found = Observed(
        outputs=[None] * len(sites),
        streams=[None] * len(layers),
        sums=[None] * len(layers),
        projections=[[None] * len(each.projections) for each in layers],
        mlps=[None] * len(layers),
        logits=[None],
    )
    with ExitStack() as stack:
        stack.enter_context(repeated_keys(model, kv))
        for number, layer in enumerate(layers):
            last = number == len(layers) - 1
            for handle in (
                *_observe_reads(model, layer, number, found, kv, last),
                *_observe_outputs(sites, number, found, last),
            ):
                stack.callback(handle.remove)
        handle = _before(final_norm(model), found.logits, 0, own=True)
        stack.callback(handle.remove)
        yield found


def _observe_reads(
    model: nn.Module,
    layer: LayerReaders,
    number: int,
    found: Observed,
    kv: str,
    last: bool,
) -> list:
    first = layer.attention_norm or layer.projections[0]
    handles = [
        _before(first, found.streams, number),
        _before(layer.mlp_input, found.mlps, number, last=last, own=True),
    ]
    if layer.heads_norm is not None:
        handles.append(_before(layer.heads_norm, found.sums, number))
    sizes = readers_of_kinds(model)
    times = sizes["q"] // sizes["k"] if kv == QUERY_HEAD else 1
    for index, module in enumerate(layer.projections):
        kinds = KINDS if layer.fused else KINDS[index]
        counts = {kind: sizes[kind] for kind in kinds}
        store = _storing(found.projections[number], index, counts, layer.fused, times)
        handles.append(module.register_forward_hook(store))
    return handles


def _storing(into: list, index: int, counts: dict[str, int], fused: str, times: int):
    """Return a hook that stores the output of a projection, with repeated keys."""

    def store(_module, _inputs, output: Tensor) -> Tensor:
        if times > 1 and [*counts] != ["q"]:
            parts = divided(output, [*counts.values()], fused)
            repeated = [
                part if kind == "q" else _repeated(part, times)
                for kind, part in zip(counts, parts, strict=True)
            ]
            output = joined(repeated, fused)
        into[index] = output
        return output

    return store


def _repeated(part: Tensor, times: int) -> Tensor:
    """Return every reader of `(..., readers, d_head)` `times` times, side by side."""
    # The backward pass of `repeat_interleave` takes twice as long.
    return part.unsqueeze(-2).expand(*part.shape[:-1], times, -1).flatten(-3, -2)


def _observe_outputs(sites: list, number: int, found: Observed, last: bool) -> list:
    (heads, _, n_heads), (mlp, _, _) = sites[2 * number : 2 * number + 2]

    def store_heads(_module, inputs: tuple) -> tuple:
        z = inputs[0][:, -1:] if last else inputs[0]
        found.outputs[2 * number] = z.unflatten(-1, (n_heads, -1))
        return (z, *inputs[1:])

    def store_mlp(_module, _inputs, output: Tensor) -> None:
        found.outputs[2 * number + 1] = output.unsqueeze(-2)

    return [
        heads.register_forward_pre_hook(store_heads),
        mlp.register_forward_hook(store_mlp),
    ]


def _before(
    module: nn.Module, into: list, index: int, *, last: bool = False, own: bool = False
):
    """Store the first argument of a module.

    Args:
        module: to hook.
        into: a list.
        index: in the list.
        last: whether to keep the last position alone, in what follows too.
        own: whether its gradient is that of this module alone, not of all that use it.
    """

    def store(_module, inputs: tuple) -> tuple | None:
        x = inputs[0][:, -1:] if last else inputs[0]
        into[index] = x.view_as(x) if own else x
        return (into[index], *inputs[1:])

    return module.register_forward_pre_hook(store)


def reader_gradients(found: Observed, target: Tensor) -> Observed:
    """Return the gradients of a number at all readers, in the place of their values.

    Where nothing that has a gradient is read, there is None.

    Args:
        found: what a forward pass with gradients has filled in.
        target: a scalar of its graph.
    """
    places = [*found.projections, found.mlps, found.logits]
    values = [each for place in places for each in place if _has_gradient(each)]
    gradients = iter(torch.autograd.grad(target, values))
    filled = [
        [next(gradients) if _has_gradient(each) else None for each in place]
        for place in places
    ]
    *projections, mlps, logits = filled
    return replace(found, projections=projections, mlps=mlps, logits=logits)


def _has_gradient(value: Tensor | None) -> bool:
    return value is not None and value.requires_grad
