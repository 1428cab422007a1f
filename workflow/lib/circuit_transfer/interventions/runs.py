"""Run a model on prompts, from the beginning or reusing an earlier run."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from circuit_transfer.interventions.circuits import (
    bypassing,
    site_outputs,
    skipping_layers,
)
from circuit_transfer.interventions.hooks import captured
from circuit_transfer.interventions.positions import forget_lengths
from circuit_transfer.interventions.unembedding import in_float32


@dataclass(frozen=True)
class Prefix:
    """The key-value cache of the first positions of a batch of prompts.

    In a causal model they do not depend on later positions, see `prefixes` for
    exceptions.

    Attributes:
        cache: keys and values of every layer at these positions.
        rows: number of prompts.
    """

    cache: DynamicCache
    rows: int

    def tensors(self) -> list[Tensor]:
        """Return all keys and values."""
        return [
            part for layer in self.cache.layers for part in (layer.keys, layer.values)
        ]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the prefix with `move` applied to all keys and values."""
        cache = self._copy()
        for layer in cache.layers:
            layer.keys, layer.values = move(layer.keys), move(layer.values)
        return replace(self, cache=cache)

    def repeated(self, times: int, layers: slice = slice(None)) -> Self:
        """Return the prefix with every key and value `times` times, side by side.

        Args:
            times: how often.
            layers: those of which, by default all.
        """
        cache = self._copy()
        for layer in cache.layers[layers]:
            layer.keys = layer.keys.repeat_interleave(times, dim=1)
            layer.values = layer.values.repeat_interleave(times, dim=1)
        return replace(self, cache=cache)

    def resume(self, rows: int) -> DynamicCache:
        """Return a cache for a pass with `rows` prompts, a multiple of those cached.

        A pass extends its cache, so each pass needs a copy; the tensors are shared.
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

    They are computed in float32 also where the model runs in half precision, see
    `unembedding`.

    Args:
        model: a causal language model.
        ids: token ids `(batch, position)`, all prompts of one length, without padding.
        embeddings: `(batch, position, d_model)`, instead of `ids`.
        after: the cached prefix that the prompts continue.

    Returns:
        The logits, on the device of the prompts.
    """
    prompts = ids if embeddings is None else embeddings
    forget_lengths(model)
    with in_float32(model):
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
    """Run and cache the first positions of prompts, token ids `(batch, position)`."""
    forget_lengths(model)
    cache = DynamicCache(config=model.config)
    model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    return Prefix(cache, len(ids))


@torch.no_grad()
def run_captured(
    model: nn.Module, ids: Tensor, after: Prefix | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Run prompts and return the answer logits and the activations of all sites."""
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
    """Set the output of a site and compute only what follows it, within the context.

    Everything before the site is taken from an earlier run of the same prompts.

    Args:
        model: the model whose modules are replaced within the context.
        site: the site to start from.
        live: the outputs of its nodes, `(times * batch, position, nodes, width)`.
        activations: activations of all sites in the earlier run, `(batch, ...)`.
        stream: residual stream in the earlier run, see `hooks.captured_stream`.
    """
    depth, is_mlp = divmod(site, 2)
    times = len(live) // len(activations[site])
    heads = activations[site - 1].repeat(times, 1, 1, 1) if is_mlp else live
    known = [heads, live] if is_mlp else [heads]
    sites = list(range(2 * depth, site + 1))
    added = dict(zip(sites, site_outputs(model, known, sites), strict=True))
    below = [stream[2 * depth - 1].repeat(times, 1, 1)] * depth if depth else []
    with skipping_layers(model, below), bypassing(model, sites, added):
        yield
