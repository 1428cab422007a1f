"""Run a model with nodes ablated, by a binary mask (a circuit) or a soft mask."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.hooks import edited, replacing
from circuit_transfer.models.architectures import (
    layer_modules,
    node_sites,
    projection_weight,
)


def mixing(
    model: nn.Module,
    mask: Tensor,
    outside: Sequence[Tensor],
    inside: Sequence[Tensor] | None = None,
) -> AbstractContextManager[None]:
    """Interpolate every node between its own and its ablated output, by a mask.

    Within the context a node's output is `mask * own + (1 - mask) * outside`, where
    `own` is its live output or, if given, that of `inside`. A binary mask is a circuit.

    Args:
        model: the model to hook.
        mask: `(n_nodes,)`, in [0, 1], or several that run in one pass, `(masks,
            n_nodes)`: the batch of a pass then repeats the prompts for every mask.
        outside: the ablated output of every site, in any shape that broadcasts with
            the site's activation on the prompts without repetition.
        inside: activations of every site to use instead of the live ones.
    """
    weights = mask_by_site(model, mask)

    def mix(site: int, live: Tensor) -> Tensor:
        by_mask = live.unflatten(0, (_count_masks(mask), -1))
        own = by_mask if inside is None else inside[site].to(by_mask)
        # `lerp` is exact at 0 and 1, and one operation instead of four.
        mixed = torch.lerp(outside[site].to(live), own, weights[site].to(live))
        return mixed.expand_as(by_mask).flatten(0, 1)

    return edited(model, mix)


def pushing(
    model: nn.Module, mask: Tensor, towards: Sequence[Tensor]
) -> AbstractContextManager[None]:
    """Interpolate every node from its live output to `towards`, by a mask.

    The intervention of the public release of DFA: the live output depends on the nodes
    before, which are interpolated too. Arguments as in `mixing`.
    """
    weights = mask_by_site(model, mask)

    def push(site: int, live: Tensor) -> Tensor:
        by_mask = live.unflatten(0, (_count_masks(mask), -1))
        pushed = torch.lerp(by_mask, towards[site].to(live), weights[site].to(live))
        return pushed.flatten(0, 1)

    return edited(model, push)


def mask_by_site(model: nn.Module, mask: Tensor) -> list[Tensor]:
    """Split a mask, or several, by site: `(masks, 1, 1, nodes, 1)` each.

    They broadcast with the site's activations under every mask, `(masks, batch,
    position, nodes, width)`.

    Args:
        model: the model of the mask.
        mask: `(n_nodes,)` or `(masks, n_nodes)`.

    Raises:
        ValueError: the mask does not have one entry per node.
    """
    sizes = [n_nodes for _, _, n_nodes in node_sites(model)]
    if mask.ndim > 2 or mask.shape[-1] != sum(sizes):
        raise ValueError(f"mask {tuple(mask.shape)} for a model of {sum(sizes)} nodes")
    parts = mask.view(-1, 1, 1, sum(sizes)).split(sizes, dim=-1)
    return [part[..., None] for part in parts]


def _count_masks(mask: Tensor) -> int:
    return 1 if mask.ndim == 1 else len(mask)


@contextmanager
def running_circuits(
    model: nn.Module,
    circuits: Tensor,
    outside: Sequence[Tensor],
    added: Sequence[Tensor],
) -> Iterator[None]:
    """Run several circuits in one pass within the context, on repeated prompts.

    Equivalent to `mixing` with their masks, but the modules of a site whose nodes are
    outside all circuits are skipped, since their contribution is known.

    Args:
        model: the model to hook.
        circuits: `(circuits, n_nodes)` of ones and zeros. The batch of a pass repeats
            the prompts for every circuit.
        outside: the ablated output of every site, on the prompts without repetition.
        added: what these outputs add to the residual stream, see `site_outputs`.
    """
    times = len(circuits)
    inside = [part.bool() for part in mask_by_site(model, circuits)]
    skipped = [site for site, each in enumerate(inside) if not each.any()]
    mixed = [
        site
        for site, each in enumerate(inside)
        if site not in skipped and not each.all()
    ]

    def mix(site: int, live: Tensor) -> Tensor:
        by_circuit = live.unflatten(0, (times, -1))
        mask, ablated = inside[site].to(live.device), outside[site].to(live)
        return torch.where(mask, by_circuit, ablated).flatten(0, 1)

    with ExitStack() as stack:
        stack.enter_context(bypassing(model, skipped, added, times))
        stack.enter_context(edited(model, mix, mixed))
        yield


def bypassing(
    model: nn.Module, sites: Sequence[int], added: Sequence[Tensor], times: int = 1
) -> AbstractContextManager[None]:
    """Replace the modules of sites by known contributions to the residual stream.

    Args:
        model: the model whose modules are replaced within the context.
        sites: the sites to bypass.
        added: contributions by site, see `site_outputs`.
        times: how often a pass repeats the prompts of `added`.
    """
    every, layers = node_sites(model), layer_modules(model)
    forwards = {}
    for site in sites:
        value, (module, _, _) = added[site], every[site]
        if times > 1 and len(value) > 1:
            # A value that is the same for all prompts broadcasts without repetition.
            value = value.repeat(times, 1, 1)
        _, attention, feed_forward = layers[site // 2]
        if site % 2:
            forwards[feed_forward] = forwards[module] = _returning(value)
        else:
            forwards[attention] = _returning((value, None))
    return replacing(forwards)


def skipping_layers(
    model: nn.Module, outputs: Sequence[Tensor]
) -> AbstractContextManager[None]:
    """Replace the first layers by their known outputs.

    Args:
        model: the model whose modules are replaced within the context.
        outputs: outputs of these layers, each `(batch, position, d_model)`.
    """
    skipped = zip(layer_modules(model), outputs, strict=False)
    return replacing({layer: _returning(each) for (layer, _, _), each in skipped})


def site_outputs(
    model: nn.Module, activations: Sequence[Tensor], sites: Sequence[int] | None = None
) -> list[Tensor]:
    """Return what sites add to the residual stream, given the outputs of their nodes.

    For heads in families with a norm after attention (Gemma, OLMo 2): the value before
    that norm.

    Args:
        model: the model of the sites.
        activations: node outputs of every site, `(batch, position, nodes, width)`;
            axes along which they are constant may have length 1.
        sites: the sites of the activations; by default all.

    Returns:
        A tensor `(batch, position, d_model)` for every site.
    """
    every = node_sites(model)
    chosen = range(len(every)) if sites is None else sites
    outputs = []
    for site, activation in zip(chosen, activations, strict=True):
        module, at_input, n_nodes = every[site]
        if at_input:
            weight = projection_weight(module)
            width = weight.shape[1] // n_nodes
            whole = activation.to(weight.dtype).expand(-1, -1, -1, width)
            outputs.append(module(whole.flatten(-2)))
        else:
            outputs.append(activation.to(next(module.parameters()).dtype).flatten(-2))
    return outputs


def _returning(value):
    return lambda *_arguments, **_named: value
