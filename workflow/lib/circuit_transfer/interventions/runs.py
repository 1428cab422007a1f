"""Run a model on prompts, from their beginning or from where others have come."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from circuit_transfer.interventions.circuits import (
    silencing,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.interventions.hooks import captured


@dataclass(frozen=True)
class Prefix:
    """The first positions of some prompts, which have been run.

    In a causal model they do not depend on what follows.

    Attributes:
        cache: keys and values of every layer there.
        rows: the number of prompts.
    """

    cache: DynamicCache
    rows: int

    def tensors(self) -> list[Tensor]:
        """Return all keys and values."""
        return [
            part for layer in self.cache.layers for part in (layer.keys, layer.values)
        ]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with all keys and values moved, as to another device."""
        cache = self._copy()
        for layer in cache.layers:
            layer.keys, layer.values = move(layer.keys), move(layer.values)
        return replace(self, cache=cache)

    def resume(self, rows: int) -> DynamicCache:
        """Return a cache for a pass of the prompts, all of them once or several times.

        A pass adds to its cache, so each needs its own; the tensors are shared.
        """
        cache = self._copy()
        if rows != self.rows:
            cache.batch_select_indices(torch.arange(rows) % self.rows)
        return cache

    def _copy(self) -> DynamicCache:
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return cache


def answer_logits(
    model: nn.Module,
    ids: Tensor | None = None,
    *,
    embeddings: Tensor | None = None,
    after: Prefix | None = None,
) -> Tensor:
    """Return the logits at the last position, float32 `(batch, vocabulary)`.

    The prompts are token ids `(batch, position)` or embeddings
    `(batch, position, d_model)`, all of one length and not padded. They may go on
    `after` what has been run of them. The logits come back to the prompts' device.
    """
    prompts = ids if embeddings is None else embeddings
    output = model(
        input_ids=ids,
        inputs_embeds=embeddings,
        past_key_values=after and after.resume(len(prompts)),
        logits_to_keep=1,
        use_cache=after is not None,
    )
    return output.logits[:, -1].float().to(prompts.device)


@torch.no_grad()
def run_prefix(model: nn.Module, ids: Tensor) -> Prefix:
    """Run the first positions of some prompts, token ids `(batch, position)`."""
    cache = DynamicCache(config=model.config)
    model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    return Prefix(cache, len(ids))


@torch.no_grad()
def run_captured(
    model: nn.Module, ids: Tensor, after: Prefix | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Run prompts and return the answer logits and every site's activation."""
    with captured(model) as activations:
        logits = answer_logits(model, ids, after=after)
    return logits, activations


@contextmanager
def resumed(
    model: nn.Module,
    site: int,
    live: Tensor,
    activations: Sequence[Tensor],
    stream: Sequence[Tensor],
) -> Iterator[None]:
    """Compute only what reads a site within the context; it writes what is given.

    What lies below is as it was in an earlier run of the same prompts.

    Args:
        model: the model whose modules are replaced within the context.
        site: where to go on.
        live: what its nodes write, `(times * batch, position, nodes, width)`.
        activations: of every site in the earlier run, on each prompt once.
        stream: of the earlier run, see `hooks.captured_stream`.
    """
    depth, is_mlp = divmod(site, 2)
    times = len(live) // len(activations[site])
    heads = activations[site - 1].repeat(times, 1, 1, 1) if is_mlp else live
    known = [heads, live] if is_mlp else [heads]
    sites = list(range(2 * depth, site + 1))
    written = dict(zip(sites, site_outputs(model, known, sites), strict=True))
    below = [stream[2 * depth - 1].repeat(times, 1, 1)] * depth if depth else []
    with skipping_layers(model, below), silencing(model, sites, written):
        yield
