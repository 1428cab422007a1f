"""Read and edit the outputs of the nodes of a plain Hugging Face model.

Nodes are accessed by site: the heads of a layer together (`z`, the input of the
output projection), or the MLP of a layer (its output). The activation of a site always
has the shape `(batch, position, nodes of the site, width)`.

The layers of a model may be on several devices. The activation of a site stays on its
device; replacements are moved there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from circuit_transfer.models.architectures import (
    layer_modules,
    node_sites,
    stream_points,
)

Edit = Callable[[int, Tensor], Tensor]


@contextmanager
def edited(
    model: nn.Module, edit: Edit, sites: Sequence[int] | None = None
) -> Iterator[None]:
    """Replace node outputs by `edit(site, activation)` within the context.

    All hooks are removed at the end of the context, also after an exception.

    Args:
        model: the model to hook.
        edit: a function of the site's number and activation; activation and result are
            `(batch, position, nodes, width)`.
        sites: the sites to edit; by default all.
    """
    every = node_sites(model)
    with ExitStack() as hooks:
        for index in range(len(every)) if sites is None else sites:
            module, at_input, n_nodes = every[index]
            handle = _hook(module, at_input, n_nodes, index, edit)
            hooks.callback(handle.remove)
        yield


@contextmanager
def captured(model: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that a forward pass fills with the activations of all sites.

    The tensors are part of the autograd graph, if there is one, so that a backward pass
    gives the gradient at every node. One forward pass per context.
    """
    activations: list[Tensor | None] = [None] * len(node_sites(model))

    def store(site: int, live: Tensor) -> Tensor:
        # By index: the order of computation within a layer depends on the family.
        activations[site] = live
        return live

    with edited(model, store):
        yield activations


@contextmanager
def captured_stream(model: nn.Module, *, start: bool = False) -> Iterator[list[Tensor]]:
    """Yield a list that a forward pass fills with the residual stream at every point.

    Points as in `architectures.stream_points`, one for every site; each tensor is
    `(batch, position, d_model)` and part of the autograd graph, if there is one.

    Args:
        model: the model to hook.
        start: whether the first point is that before the first layer.
    """
    first = [(layer_modules(model)[0][0], True)] if start else []
    points = [*first, *stream_points(model)]
    stream: list[Tensor | None] = [None] * len(points)

    def store(point: int, value: Tensor | tuple) -> None:
        stream[point] = value[0] if isinstance(value, tuple) else value

    with ExitStack() as hooks:
        for index, (module, at_input) in enumerate(points):
            hooks.callback(_observe(module, at_input, index, store).remove)
        yield stream


@contextmanager
def replacing(forwards: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Replace the forward functions of modules within the context.

    Args:
        forwards: the replacement by module.
    """
    # A module may already have its own forward, such as one that loads offloaded
    # weights.
    before = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                module.forward = forward


def _observe(
    module: nn.Module, at_input: bool, point: int, store: Callable[[int, Any], None]
):
    """Pass the input or the output of a module to `store`, without changing it."""
    if at_input:
        return module.register_forward_pre_hook(
            lambda _module, inputs: store(point, inputs)
        )
    return module.register_forward_hook(
        lambda _module, _inputs, output: store(point, output)
    )


def _hook(module: nn.Module, at_input: bool, n_nodes: int, site: int, edit: Edit):
    def apply(activation: Tensor) -> Tensor:
        return edit(site, activation.unflatten(-1, (n_nodes, -1))).flatten(-2)

    if at_input:
        return module.register_forward_pre_hook(
            lambda _module, inputs: (apply(inputs[0]), *inputs[1:])
        )
    return module.register_forward_hook(lambda _module, _inputs, output: apply(output))
