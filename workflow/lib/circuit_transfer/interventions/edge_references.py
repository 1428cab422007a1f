"""The runs that circuits of edges lie between: the ablated one, and the clean one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.hooks import edited
from circuit_transfer.interventions.projections import edited_projections
from circuit_transfer.interventions.runs import Prefix, answer_logits
from circuit_transfer.models.architectures import (
    final_norm,
    layer_modules,
    layer_readers,
    node_sites,
    projection_weight,
)
from circuit_transfer.models.edges import KV_HEAD


@dataclass
class EdgeRun:
    """What circuits need of a run in which nothing or everything is ablated.

    All but the logits are of the positions that were run.

    Attributes:
        logits: float32 `(batch, vocabulary)`.
        streams: by layer what its attention and what its MLP read from the residual
            stream, `(batch, position, d_model)`.
        final: what the unembedding reads, `(batch, 1, d_model)`.
        projections: by layer the queries, keys and values by kind, `(batch, position,
            readers, d_head)`, keys and values as often as the model has them.
        sites: by site the outputs of the nodes, `(batch, position, nodes, width)`.
        live: by site what its nodes compute where their outputs are replaced; None
            where they are not.
        sums: by layer the sum of its heads, where there is a norm over it.
    """

    logits: Tensor
    streams: list[list[Tensor]]
    final: Tensor
    projections: list[dict[str, Tensor]]
    sites: list[Tensor]
    live: list[Tensor | None]
    sums: list[Tensor | None]


@torch.no_grad()
def run_edges(
    model: nn.Module,
    ids: Tensor | None = None,
    *,
    embeddings: Tensor | None = None,
    after: Prefix | None = None,
    outputs: Sequence[Tensor] | None = None,
    layers: int | None = None,
) -> EdgeRun:
    """Run prompts and keep what the readers of edges read and what the writers write.

    Args:
        model: a causal language model.
        ids: token ids `(batch, position)`.
        embeddings: instead of `ids`, as in `runs.answer_logits`.
        after: the cached prefix that the prompts continue.
        outputs: by site what replaces the outputs of all nodes, broadcasting with
            them; by default nothing.
        layers: of how many layers to keep it, by default all; of the last position
            only the logits are always kept.
    """
    modules = layer_modules(model)
    count = len(modules) if layers is None else layers
    found = EdgeRun(
        logits=torch.empty(0),
        streams=[[None, None] for _ in range(count)],
        final=torch.empty(0),
        projections=[{} for _ in range(count)],
        sites=[None] * (2 * count),
        live=[None] * (2 * count),
        sums=[None] * count,
    )
    with _keeping(model, found, outputs, count):
        found.logits = answer_logits(model, ids, embeddings=embeddings, after=after)
    return found


def head_weights(model: nn.Module) -> list[Tensor]:
    """Return by layer what projects the heads' outputs, `(heads, d_head, d_model)`."""
    heads = [
        (module, count) for module, is_input, count in node_sites(model) if is_input
    ]
    return [
        projection_weight(module).T.unflatten(0, (count, -1)) for module, count in heads
    ]


@contextmanager
def _keeping(
    model: nn.Module, found: EdgeRun, outputs: Sequence[Tensor] | None, layers: int
) -> Iterator[None]:
    def project(layer: int, kind: str, value: Tensor) -> Tensor:
        if layer < layers:
            found.projections[layer][kind] = value
        return value

    def write(site: int, live: Tensor) -> Tensor:
        kept = live
        if outputs is not None:
            kept = outputs[site].to(live).expand_as(live)
        if site < 2 * layers:
            found.sites[site] = kept
            found.live[site] = None if outputs is None else live
        return kept

    def keep_final(value: Tensor) -> None:
        found.final = value[:, -1:]

    def setter(values: list, index: int) -> Callable[[Tensor], None]:
        return lambda value: values.__setitem__(index, value)

    with ExitStack() as stack:
        stack.enter_context(edited_projections(model, project, kv=KV_HEAD))
        stack.enter_context(edited(model, write))
        _observe(stack, final_norm(model), keep_final)
        every = zip(layer_modules(model), layer_readers(model), strict=True)
        for layer, ((module, _, _), readers) in enumerate([*every][:layers]):
            _observe(stack, module, setter(found.streams[layer], 0))
            _observe(stack, readers.mlp_input, setter(found.streams[layer], 1))
            if readers.heads_norm is not None:
                _observe(stack, readers.heads_norm, setter(found.sums, layer))
        yield


def _observe(stack: ExitStack, module: nn.Module, keep: Callable) -> None:
    """Pass the first argument of a module to `keep`, while the stack is open."""
    handle = module.register_forward_pre_hook(lambda _module, inputs: keep(inputs[0]))
    stack.callback(handle.remove)
