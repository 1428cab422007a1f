"""Read and edit the queries, keys and values of a plain Hugging Face model.

They are accessed by layer and kind, before any norm of theirs and before rotary
positions, as `(batch, position, readers, d_head)` whatever module computes them. By
`query-head`, keys and values that a group of heads shares are one for each of these
heads (see `models.edges`): within the context the model runs with as many keys as
queries, which gives the same values and a gradient for every head.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.hooks import replacing
from circuit_transfer.models.architectures import (
    LayerReaders,
    layer_readers,
    projection_weight,
)
from circuit_transfer.models.edges import KINDS, QUERY_HEAD
from circuit_transfer.models.shape import head_width
from circuit_transfer.models.weights import on_device

EditProjection = Callable[[int, str, Tensor], Tensor]


@contextmanager
def edited_projections(
    model: nn.Module, edit: EditProjection, *, kv: str = QUERY_HEAD
) -> Iterator[None]:
    """Replace queries, keys and values by `edit(layer, kind, value)` in the context.

    Args:
        model: the model to hook.
        edit: a function of the layer's number, the kind (`q`, `k`, `v`) and the value
            `(batch, position, readers, d_head)`, which returns another of this shape.
        kv: whether keys and values are by `query-head` or by `kv-head`.
    """
    with ExitStack() as stack:
        stack.enter_context(repeated_keys(model, kv))
        for layer, readers in enumerate(layer_readers(model)):
            for number, module in enumerate(readers.projections):
                kinds = KINDS if readers.fused else KINDS[number]
                hook = _editing(model, edit, layer, kinds, readers.fused, kv)
                stack.callback(module.register_forward_hook(hook).remove)
        yield


def _editing(model, edit: EditProjection, layer: int, kinds, fused: str, kv: str):
    sizes = readers_of_kinds(model)
    times = sizes["q"] // sizes["k"] if kv == QUERY_HEAD else 1

    def hook(_module, _inputs, output: Tensor) -> Tensor:
        parts = divided(output, [sizes[kind] for kind in kinds], fused)
        edited = []
        for kind, part in zip(kinds, parts, strict=True):
            repeated = part if kind == "q" else part.repeat_interleave(times, dim=2)
            edited.append(edit(layer, kind, repeated))
        return joined(edited, fused)

    return hook


def readers_of_kinds(model: nn.Module) -> dict[str, int]:
    """Return how many queries, keys and values a layer computes, by kind."""
    heads = model.config.num_attention_heads
    keys = getattr(model.config, "num_key_value_heads", None) or heads
    return {"q": heads, "k": keys, "v": keys}


def divided(output: Tensor, sizes: Sequence[int], fused: str) -> list[Tensor]:
    """Divide the output of a projection into `(..., readers, d_head)` of every kind.

    Args:
        output: `(..., width)`.
        sizes: how many readers of each kind it has.
        fused: see `architectures.Architecture`.
    """
    if fused == "heads":
        return list(output.unflatten(-1, (sizes[0], len(sizes), -1)).unbind(-2))
    whole = output.unflatten(-1, (sum(sizes), -1))
    return list(whole.split(list(sizes), dim=-2))


def joined(parts: Sequence[Tensor], fused: str) -> Tensor:
    """Return the output of a projection from its parts, the inverse of `divided`."""
    if fused == "heads":
        return torch.stack(tuple(parts), dim=-2).flatten(-3)
    return torch.cat(tuple(parts), dim=-2).flatten(-2)


def projection_weights(
    model: nn.Module, readers: LayerReaders
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return weights and biases of a layer's queries, keys and values, by kind.

    Weights are `(readers, d_head, d_model)`, biases `(readers, d_head)` or None; with
    the keys and values that the model has, not repeated by query head.
    """
    sizes = list(readers_of_kinds(model).values())
    found = {}
    for number, module in enumerate(readers.projections):
        kinds = KINDS if readers.fused else KINDS[number]
        own = sizes if readers.fused else [sizes[number]]
        # The outputs are the last axis of what `divided` takes.
        weights = divided(projection_weight(module).T, own, readers.fused)
        bias = getattr(module, "bias", None)
        biases = (
            [None] * len(own) if bias is None else divided(bias, own, readers.fused)
        )
        for kind, weight, offset in zip(kinds, weights, biases, strict=True):
            found[kind] = (weight.permute(1, 2, 0), offset)
    return found


@contextmanager
def repeated_keys(
    model: nn.Module, kv: str = QUERY_HEAD, layers: slice = slice(None)
) -> Iterator[None]:
    """Let attention take one key and value for every query, within the context.

    The projections must then return that many. A cached prefix, too, must have one for
    every query, see `runs.Prefix.repeated`. With `kv-head` nothing changes.

    Args:
        model: the model whose modules are changed within the context.
        kv: `query-head` or `kv-head`.
        layers: the layers to change, by default all.
    """
    sizes = readers_of_kinds(model)
    times = sizes["q"] // sizes["k"]
    if kv != QUERY_HEAD or times == 1:
        yield
        return
    changed = layer_readers(model)[layers]
    norms = [norm for layer in changed for norm in layer.joint_norms]
    with ExitStack() as stack:
        width = head_width(model.config)
        forwards = {each: _repeated(each, times, width) for each in norms}
        stack.enter_context(replacing(forwards))
        for layer in changed:
            attention = layer.attention
            stack.enter_context(_with(attention, "num_key_value_groups", 1))
            stack.enter_context(_with(attention, "num_key_value_heads", sizes["q"]))
        yield


def _repeated(norm: nn.Module, times: int, d_head: int) -> Callable[[Tensor], Tensor]:
    """Return the forward of a norm over all keys, for keys that are repeated."""
    other = copy.copy(norm)
    with on_device(norm):
        repeated = repeated_weight(norm.weight, len(norm.weight) * times, d_head)
    weight = nn.Parameter(repeated, requires_grad=False)
    other._parameters = {**norm._parameters, "weight": weight}
    # That of its class: an offloaded module has one of its own, which loads its weight.
    return type(norm).forward.__get__(other)


def repeated_weight(weight: Tensor, width: int, d_head: int) -> Tensor:
    """Repeat the weights of a norm, head by head, for keys that are repeated.

    Args:
        weight: of a norm, one for each number.
        width: how many numbers the norm is over, a multiple of its weights.
        d_head: how many of them are of one head.
    """
    times = width // len(weight)
    if times == 1:
        return weight
    return weight.unflatten(0, (-1, d_head)).repeat_interleave(times, dim=0).flatten()


@contextmanager
def _with(module: nn.Module, name: str, value: int) -> Iterator[None]:
    """Set an attribute of a module within the context, if it has it."""
    before = vars(module).get(name)
    if before is None:
        yield
        return
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
