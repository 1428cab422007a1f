"""Read and change what the nodes of a plain Hugging Face model write.

Nodes are reached by site: the heads of a layer together (as `z`, the input of the
output projection), or its MLP (its output). A site's activation always has the shape
`(batch, position, nodes at the site, width)`.

The layers of a model may lie on several devices. A site's activation stays on the
device where it was written; what replaces it is brought there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from circuit_transfer.models.architectures import node_sites, stream_points

Edit = Callable[[int, Tensor], Tensor]


@contextmanager
def edited(
    model: nn.Module, edit: Edit, sites: Sequence[int] | None = None
) -> Iterator[None]:
    """Send what the nodes write through `edit(site, activation)` within the context.

    `sites` restricts it to some sites; the others are not touched. Activation and
    result are `(batch, position, nodes, width)`. All hooks are gone afterwards, also
    when the body raises.
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
    """Yield a list that a forward pass fills with every site's activation, in order.

    The tensors stay in the graph if there is one, so that a backward pass gives the
    gradient at every node. One forward pass per context.
    """
    activations: list[Tensor | None] = [None] * len(node_sites(model))

    def keep(site: int, live: Tensor) -> Tensor:
        # By site: the order of computation within a layer is the family's own.
        activations[site] = live
        return live

    with edited(model, keep):
        yield activations


@contextmanager
def captured_stream(model: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that a forward pass fills with the residual stream at every point.

    Points as in `architectures.stream_points`, one for every site; each tensor is
    `(batch, position, d_model)` and stays in the graph, if there is one.
    """
    points = stream_points(model)
    stream: list[Tensor | None] = [None] * len(points)

    def keep(point: int, value: Tensor | tuple) -> None:
        stream[point] = value[0] if isinstance(value, tuple) else value

    with ExitStack() as hooks:
        for index, (module, at_input) in enumerate(points):
            hooks.callback(_listen(module, at_input, index, keep).remove)
        yield stream


@contextmanager
def replacing(forwards: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Let modules return something else, and compute nothing, within the context.

    Args:
        forwards: by module, what it is called as instead.
    """
    # A module may have a forward of its own already, such as one that fetches weights.
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


def _listen(
    module: nn.Module, at_input: bool, point: int, keep: Callable[[int, Any], None]
):
    """Hand what a module reads or returns to `keep`, and change nothing."""
    if at_input:
        return module.register_forward_pre_hook(
            lambda _module, inputs: keep(point, inputs)
        )
    return module.register_forward_hook(
        lambda _module, _inputs, output: keep(point, output)
    )


def _hook(module: nn.Module, at_input: bool, n_nodes: int, site: int, edit: Edit):
    def apply(activation: Tensor) -> Tensor:
        return edit(site, activation.unflatten(-1, (n_nodes, -1))).flatten(-2)

    if at_input:
        return module.register_forward_pre_hook(
            lambda _module, inputs: (apply(inputs[0]), *inputs[1:])
        )
    return module.register_forward_hook(lambda _module, _inputs, output: apply(output))
