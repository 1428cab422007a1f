"""Give readers another value than in an earlier run, and compute what follows.

No layer below the reader runs again: the residual stream up to it is that of the
earlier run.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from torch import Tensor, nn

from circuit_transfer.interventions.circuits import skipping_layers
from circuit_transfer.interventions.counting import counted
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
    """Return the output of an MLP that reads streams `(streams, ..., d_model)`."""
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
        values: by kind, one for every reader, `(times * batch, position, ...)`; in
            every row one is another than in the earlier run.
        run: the earlier run, of the same prompts once.
        kv: whether there are values for each `query-head` or each `kv-head`.
    """
    readers = layer_readers(model)[layer]
    parts = [values[kind] for kind in KINDS]
    groups = [parts] if readers.fused else [[part] for part in parts]
    # In every row one of the values was computed.
    products = values["q"][:, :, 0].numel() * model.config.hidden_size
    forwards = {}
    for module, group in zip(readers.projections, groups, strict=True):
        output = joined(group, readers.fused)
        forwards[module] = counted(lambda _read, output=output: output, products)
        products = 0
    times = len(values["q"]) // len(run.streams[layer][0])
    below = [run.streams[layer][0].repeat(times, 1, 1)] * layer
    with (
        repeated_keys(model, kv, slice(layer, layer + 1)),
        skipping_layers(model, below),
        replacing(forwards),
    ):
        yield


def resumed_after(
    model: nn.Module, layer: int, streams: Tensor
) -> AbstractContextManager[None]:
    """Set the residual stream after a layer and compute what follows, in the context.

    Args:
        model: the model whose modules are replaced within the context.
        layer: number of the layer.
        streams: `(rows, position, d_model)`.
    """
    return skipping_layers(model, [streams] * (layer + 1))


@contextmanager
def at_answer_position(model: nn.Module) -> Iterator[None]:
    """Compute what only the answer depends on at the last position alone.

    In the last layer: the sum of the heads and the MLP. The residual stream after it is
    that of the model at the last position only.
    """
    (module, _, _), last = node_sites(model)[-2], layer_readers(model)[-1]

    def cut(_module: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0][:, -1:], *inputs[1:])

    with ExitStack() as hooks:
        for each in (module, last.mlp_input):
            hooks.callback(each.register_forward_pre_hook(cut).remove)
        yield
