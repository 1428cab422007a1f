"""Give readers another value than in an earlier run, and compute what follows.

No layer below the reader runs again: the residual stream up to it is that of the
earlier run.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from torch import Tensor, nn

from circuit_transfer.interventions.circuits import skipping_layers
from circuit_transfer.interventions.edge_references import EdgeRun
from circuit_transfer.interventions.hooks import replacing
from circuit_transfer.interventions.projections import (
    joined,
    readers_of_kinds,
    repeated_keys,
)
from circuit_transfer.models.architectures import (
    layer_modules,
    layer_readers,
    node_sites,
)
from circuit_transfer.models.edges import KINDS, QUERY_HEAD


def mlp_values(model: nn.Module, layer: int, streams: Tensor) -> Tensor:
    """Return the output of an MLP that reads given streams `(streams, ..., d_model)`."""
    _, _, feed_forward = layer_modules(model)[layer]
    site, _, _ = node_sites(model)[2 * layer + 1]
    norm = layer_readers(model)[layer].mlp_norm
    output = feed_forward(streams if norm is None else norm(streams))
    # Where a norm follows the MLP, its output is that of the norm.
    return output if site is feed_forward else site(output)


def values_by_reader(
    model: nn.Module, values: Mapping[str, Tensor], kv: str
) -> dict[str, Tensor]:
    """Return values with as many keys and values as there are readers of them."""
    sizes = readers_of_kinds(model)
    times = sizes["q"] // sizes["k"] if kv == QUERY_HEAD else 1
    return {
        kind: value if kind == "q" else value.repeat_interleave(times, dim=2)
        for kind, value in values.items()
    }


@contextmanager
def resumed_at_attention(
    model: nn.Module, layer: int, values: Mapping[str, Tensor], run: EdgeRun, kv: str
) -> Iterator[None]:
    """Set a layer's queries, keys and values and compute what follows, in the context.

    A cached prefix must have a key of this layer, and of no other one, for every
    reader, see `runs.Prefix.repeated`.

    Args:
        model: the model whose modules are replaced within the context.
        layer: number of the layer.
        values: by kind, one for every reader, `(times * batch, position, ...)`.
        run: the earlier run, of the same prompts once.
        kv: whether there are values for each `query-head` or each `kv-head`.
    """
    readers = layer_readers(model)[layer]
    parts = [values[kind] for kind in KINDS]
    groups = [parts] if readers.fused else [[part] for part in parts]
    forwards = {
        module: lambda _read, group=group: joined(group, readers.fused)
        for module, group in zip(readers.projections, groups, strict=True)
    }
    times = len(values["q"]) // len(run.streams[layer][0])
    below = [run.streams[layer][0].repeat(times, 1, 1)] * layer
    with (
        repeated_keys(model, kv, slice(layer, layer + 1)),
        skipping_layers(model, below),
        replacing(forwards),
        _answering(model),
    ):
        yield


@contextmanager
def resumed_after(model: nn.Module, layer: int, streams: Tensor) -> Iterator[None]:
    """Set the residual stream after a layer and compute what follows, in the context.

    Args:
        model: the model whose modules are replaced within the context.
        layer: number of the layer.
        streams: `(rows, position, d_model)`.
    """
    with skipping_layers(model, [streams] * (layer + 1)), _answering(model):
        yield


@contextmanager
def _answering(model: nn.Module) -> Iterator[None]:
    """Compute the last layer's outputs at the last position alone, in the context.

    The logits of the others, which nothing reads, are then without a meaning.
    """

    def shorten(_module: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0][:, -1:], *inputs[1:])

    projection, _, _ = node_sites(model)[-2]
    with ExitStack() as stack:
        for module in (projection, layer_readers(model)[-1].mlp_input):
            handle = module.register_forward_pre_hook(shorten)
            stack.callback(handle.remove)
        yield
