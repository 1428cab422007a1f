"""Circuits, hard and soft: which nodes keep what they write, and which do not."""

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
    """Keep the masked share of every node and replace the rest, within the context.

    A node's output becomes `mask * kept + (1 - mask) * outside`, where `kept` is its
    live output or, if given, that of `inside`. A mask of ones and zeros is a circuit.

    Args:
        model: the model to hook.
        mask: `(n_nodes,)`, in [0, 1], or several that run side by side, `(masks,
            n_nodes)`: a pass then has the prompts once for each, one after the other.
        outside: what every site's nodes outside the circuit write, in any shape that
            broadcasts with the site's activation on the prompts once.
        inside: activations of every site to keep instead of the live ones.
    """
    shares = mask_by_site(model, mask)

    def mix(site: int, live: Tensor) -> Tensor:
        by_mask = live.unflatten(0, (_count_masks(mask), -1))
        kept = by_mask if inside is None else inside[site].to(by_mask)
        # Exact at both ends, and one operation instead of four.
        mixed = torch.lerp(outside[site].to(live), kept, shares[site].to(live))
        return mixed.expand_as(by_mask).flatten(0, 1)

    return edited(model, mix)


def pushing(
    model: nn.Module, mask: Tensor, towards: Sequence[Tensor]
) -> AbstractContextManager[None]:
    """Move every node's live output by the masked share of its way to `towards`.

    The public release's intervention: the live output is already a mixture, since the
    nodes before it were moved. Arguments as in `mixing`.
    """
    shares = mask_by_site(model, mask)

    def push(site: int, live: Tensor) -> Tensor:
        by_mask = live.unflatten(0, (_count_masks(mask), -1))
        pushed = torch.lerp(by_mask, towards[site].to(live), shares[site].to(live))
        return pushed.flatten(0, 1)

    return edited(model, push)


def mask_by_site(model: nn.Module, mask: Tensor) -> list[Tensor]:
    """Cut a mask, or several, into one per site, `(masks, 1, 1, nodes, 1)`.

    They broadcast with the site's activation of every mask, `(masks, batch, position,
    nodes, width)`.

    Raises:
        ValueError: the mask does not have one entry per node.
    """
    sizes = [n_nodes for _, _, n_nodes in node_sites(model)]
    if mask.ndim > 2 or mask.shape[-1] != sum(sizes):
        raise ValueError(f"mask {tuple(mask.shape)} for a model of {sum(sizes)} nodes")
    shares = mask.view(-1, 1, 1, sum(sizes)).split(sizes, dim=-1)
    return [share[..., None] for share in shares]


def _count_masks(mask: Tensor) -> int:
    return 1 if mask.ndim == 1 else len(mask)


@contextmanager
def running_circuits(
    model: nn.Module,
    circuits: Tensor,
    outside: Sequence[Tensor],
    written: Sequence[Tensor],
) -> Iterator[None]:
    """Run circuits side by side within the context, on prompts repeated for each.

    As `mixing` with their masks, but nothing is computed that no circuit needs: where
    all nodes of a site are outside all circuits, what they add is already known.

    Args:
        model: the model to hook.
        circuits: `(circuits, n_nodes)` of ones and zeros. A pass has the prompts of a
            batch once for each, one circuit after the other.
        outside: what every site's nodes outside a circuit write, on the batch once.
        written: what these add to the residual stream, see `site_outputs`.
    """
    times = len(circuits)
    kept = [share.bool() for share in mask_by_site(model, circuits)]
    silent = [site for site, each in enumerate(kept) if not each.any()]
    mixed = [
        site for site, each in enumerate(kept) if site not in silent and not each.all()
    ]

    def mix(site: int, live: Tensor) -> Tensor:
        by_circuit = live.unflatten(0, (times, -1))
        inside, other = kept[site].to(live.device), outside[site].to(live)
        return torch.where(inside, by_circuit, other).flatten(0, 1)

    with ExitStack() as stack:
        stack.enter_context(silencing(model, silent, written, times))
        stack.enter_context(edited(model, mix, mixed))
        yield


def silencing(
    model: nn.Module, sites: Sequence[int], written: Sequence[Tensor], times: int = 1
) -> AbstractContextManager[None]:
    """Let sites add what is known to the residual stream, and compute nothing.

    Args:
        model: the model whose modules are replaced within the context.
        sites: which ones.
        written: by site, see `site_outputs`.
        times: how often a pass repeats the prompts that `written` is of.
    """
    every, layers = node_sites(model), layer_modules(model)
    forwards = {}
    for site in sites:
        value, (module, _, _) = written[site], every[site]
        if times > 1 and len(value) > 1:
            # What is the same for every prompt broadcasts as it is.
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
    """Let the first layers return what is known, and compute nothing.

    Args:
        model: the model whose modules are replaced within the context.
        outputs: of these layers, each `(batch, position, d_model)`.
    """
    skipped = zip(layer_modules(model), outputs, strict=False)
    return replacing({layer: _returning(each) for (layer, _, _), each in skipped})


def site_outputs(
    model: nn.Module, activations: Sequence[Tensor], sites: Sequence[int] | None = None
) -> list[Tensor]:
    """Return what sites add to the residual stream, by what their nodes write.

    Before a norm that reads the sum of all heads (Gemma, OLMo 2).

    Args:
        model: the model that the sites are of.
        activations: of every site given, `(batch, position, nodes, width)`; one that is
            the same for all prompts, positions or coordinates may have length 1 there.
        sites: which ones; by default all.

    Returns:
        Of each `(batch, position, d_model)`.
    """
    every = node_sites(model)
    chosen = range(len(every)) if sites is None else sites
    written = []
    for site, activation in zip(chosen, activations, strict=True):
        module, at_input, n_nodes = every[site]
        if at_input:
            weight = projection_weight(module)
            width = weight.shape[1] // n_nodes
            whole = activation.to(weight.dtype).expand(-1, -1, -1, width)
            written.append(module(whole.flatten(-2)))
        else:
            written.append(activation.to(next(module.parameters()).dtype).flatten(-2))
    return written


def _returning(value):
    return lambda *_arguments, **_named: value
