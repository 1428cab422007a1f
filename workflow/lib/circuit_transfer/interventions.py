"""Read and change what the nodes of a plain Hugging Face model write.

The only place that hooks models. Nodes are reached by site: the heads of a layer
together (as `z`, the input of the output projection), or its MLP (its output). A site's
activation always has the shape `(batch, position, nodes at the site, width)`.

The layers of a model may lie on several devices. A site's activation stays on the
device where it was written; what replaces it is brought there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from circuit_transfer.architectures import node_sites, stream_points

Edit = Callable[[int, Tensor], Tensor]


@dataclass
class Passes:
    """What a model ran: prompts and their tokens, however they were batched.

    Attributes:
        forwards: prompts that ran without a backward pass.
        forward_backwards: prompts that ran with one.
        tokens: tokens of the prompts without one.
        backward_tokens: tokens of the prompts with one.
    """

    forwards: int = 0
    forward_backwards: int = 0
    tokens: int = 0
    backward_tokens: int = 0

    def turn_back(self, prompts: int, tokens: int) -> None:
        """Count prompts as run with a backward pass that were counted without one."""
        self.forwards -= prompts
        self.tokens -= tokens
        self.forward_backwards += prompts
        self.backward_tokens += tokens


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


def mixing(
    model: nn.Module,
    mask: Tensor,
    outside: Sequence[Tensor],
    inside: Sequence[Tensor] | None = None,
):
    """Keep the masked share of every node and replace the rest, within the context.

    A node's output becomes `mask * kept + (1 - mask) * outside`, where `kept` is its
    live output or, if given, that of `inside`. A mask of ones and zeros is a circuit.

    Args:
        model: the model to hook.
        mask: `(n_nodes,)`, in [0, 1], or one for every prompt, `(batch, n_nodes)`.
        outside: what every site's nodes outside the circuit write, in any shape that
            broadcasts with the site's activation.
        inside: activations of every site to keep instead of the live ones.
    """
    shares = mask_by_site(model, mask)

    def mix(site: int, live: Tensor) -> Tensor:
        kept = live if inside is None else inside[site].to(live.device)
        share = shares[site].to(live)
        return share * kept + (1 - share) * outside[site].to(live)

    return edited(model, mix)


def pushing(model: nn.Module, mask: Tensor, towards: Sequence[Tensor]):
    """Move every node's live output by the masked share of its way to `towards`.

    The public release's intervention: the live output is already a mixture, since the
    nodes before it were moved. Arguments as in `mixing`.
    """
    shares = mask_by_site(model, mask)

    def push(site: int, live: Tensor) -> Tensor:
        return live + shares[site].to(live) * (towards[site].to(live.device) - live)

    return edited(model, push)


def mask_by_site(model: nn.Module, mask: Tensor) -> list[Tensor]:
    """Cut a mask into one per site, which broadcasts with the site's activation.

    `(n_nodes,)` gives `(nodes, 1)`, one for every prompt `(batch, n_nodes)` gives
    `(batch, 1, nodes, 1)`.

    Raises:
        ValueError: the mask does not have one entry per node.
    """
    sizes = [n_nodes for _, _, n_nodes in node_sites(model)]
    if mask.ndim > 2 or mask.shape[-1] != sum(sizes):
        raise ValueError(f"mask {tuple(mask.shape)} for a model of {sum(sizes)} nodes")
    shares = mask if mask.ndim == 1 else mask[:, None]
    return [share[..., None] for share in shares.split(sizes, dim=-1)]


def answer_logits(
    model: nn.Module, ids: Tensor | None = None, *, embeddings: Tensor | None = None
) -> Tensor:
    """Return the logits at the last position, float32 `(batch, vocabulary)`.

    The prompts are token ids `(batch, position)` or embeddings
    `(batch, position, d_model)`, all of one length and not padded. The logits come
    back to the prompts' device.
    """
    output = model(
        input_ids=ids, inputs_embeds=embeddings, logits_to_keep=1, use_cache=False
    )
    prompts = ids if embeddings is None else embeddings
    return output.logits[:, -1].float().to(prompts.device)


@torch.no_grad()
def run_captured(model: nn.Module, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run prompts and return the answer logits and every site's activation."""
    with captured(model) as activations:
        logits = answer_logits(model, ids)
    return logits, activations


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Yield a record of what the model runs within the context.

    A prompt counts as run with a backward pass once a gradient reaches its logits,
    which may be after the context has ended.
    """
    passes = Passes()

    def count(_module, arguments, named, output):
        prompts = _prompts(arguments, named)
        rows, tokens = len(prompts), prompts.shape[0] * prompts.shape[1]
        passes.forwards += rows
        passes.tokens += tokens
        if output.logits.requires_grad:
            # A second backward pass through the same forward pass adds nothing.
            turn = _once(lambda: passes.turn_back(rows, tokens))
            output.logits.register_hook(lambda _gradient: turn())

    handle = model.register_forward_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def _prompts(arguments: tuple, named: Mapping[str, Any]) -> Tensor:
    """Return what a forward pass was given, `(batch, position)` and maybe more axes."""
    if arguments:
        return arguments[0]
    ids = named.get("input_ids")
    return named["inputs_embeds"] if ids is None else ids


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts when it is first called, and then no more."""
    waiting = [act]

    def first() -> None:
        if waiting:
            waiting.pop()()

    return first


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
