"""Changes: activations on the clean prompts minus those on the corrupted prompts.

Of the residual stream at every point, and of every node's output, which enters the
stream through the output weights of its site.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from circuit_transfer.interventions import (
    Prefix,
    answer_logits,
    captured,
    captured_stream,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.architectures import node_sites, projection_weight
from circuit_transfer.prompts.batches import PairBatch


@dataclass(frozen=True)
class Changes:
    """The changes on the pairs of one batch.

    Attributes:
        stream: of the residual stream by point, float32 `(points, batch, position,
            d_model)`; points as in `architectures.stream_points`.
        sites: of the outputs of every site, float32 `(batch, position, nodes, width)`.
    """

    stream: Tensor
    sites: list[Tensor]


# What a pair of runs gives: `Changes`, or whatever else is made of them.
Found = TypeVar("Found")


@dataclass(frozen=True)
class SiteChanges:
    """The changes of a site's nodes on all tokens, and how they enter the stream.

    Attributes:
        changes: `(token, nodes, width)`.
        weights: `(nodes, width, d_model)`.
    """

    changes: Tensor
    weights: Tensor

    def sizes(self) -> Tensor:
        """Return every node's squared change of the stream, over all tokens."""
        return stream_products(self, self).diagonal()


@torch.inference_mode()
def run_changes(model: nn.Module, batch: PairBatch) -> Changes:
    """Run the clean and the corrupted prompts of a batch and return the changes."""
    clean, corrupted, sites = run_pairs(model, batch)
    return Changes(clean - corrupted, sites)


@torch.inference_mode()
def run_pairs(
    model: nn.Module, batch: PairBatch, *, start: bool = False
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run the clean and the corrupted prompts of a batch.

    Args:
        model: the model.
        batch: the pairs.
        start: whether the first point of the stream is that before the first layer.

    Returns:
        The residual stream of both runs by point, and the changes of the outputs of
        every site, see `Changes`.
    """
    clean, clean_sites = _run_stream(model, batch.clean, batch.prefix, start)
    corrupted, other_sites = _run_stream(model, batch.corrupted, batch.prefix, start)
    pairs = zip(clean_sites, other_sites, strict=True)
    return clean, corrupted, [(a - b).to(clean.device) for a, b in pairs]


def run_both(
    source: nn.Module,
    target: nn.Module,
    prompts: Sequence[tuple[PairBatch, PairBatch]],
    run: Callable[[nn.Module, PairBatch], Found] = run_changes,
) -> tuple[list[Found], list[Found]]:
    """Return the changes in both models, by batch.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, see `shared_prompts.shorten_both`.
        run: runs the pairs of a batch, by default for their changes.
    """
    of_source, of_target = [], []
    for a, b in progress(prompts, len(prompts), "running batch"):
        of_source.append(run(source, a))
        of_target.append(run(target, b))
    return of_source, of_target


def stream_changes(changes: Sequence[Changes]) -> Tensor:
    """Concatenate the tokens of all batches, `(points, token, d_model)`."""
    return torch.cat([each.stream.flatten(1, 2) for each in changes], dim=1)


def site_changes(model: nn.Module, changes: Sequence[Changes]) -> list[SiteChanges]:
    """Return the changes of every site on all batches, with its output weights.

    The change of a head's output is taken before a norm that reads the sum of all heads
    (Gemma, OLMo 2).
    """
    found = []
    for site, (module, at_input, n_nodes) in enumerate(node_sites(model)):
        tokens = torch.cat([each.sites[site].flatten(0, 1) for each in changes])
        if at_input:
            weights = projection_weight(module).float().unflatten(1, (n_nodes, -1))
            weights = weights.permute(1, 2, 0).to(tokens.device)
        else:
            weights = torch.eye(tokens.shape[2], device=tokens.device)[None]
        found.append(SiteChanges(tokens, weights))
    return found


def stream_products(
    one: SiteChanges, other: SiteChanges, stitch: Tensor | None = None
) -> Tensor:
    """Return the inner products of changes of the stream, summed over all tokens.

    No change of the stream is ever stored: the tokens are summed over first.

    Args:
        one: the changes of a site's nodes.
        other: those of another site's, of the same model or of another one.
        stitch: maps the other's stream to that of the one, `(d_model, d_model of one)`.

    Returns:
        `(nodes of one, nodes of other)`.
    """
    reached = other.weights if stitch is None else other.weights @ stitch
    weights = torch.einsum("iwd,jvd->ijwv", one.weights, reached)
    changes = torch.einsum("tiw,tjv->ijwv", one.changes, other.changes)
    return (weights * changes).sum((2, 3))


@torch.inference_mode()
def change_scores(model: nn.Module, changes: Sequence[Changes]) -> Tensor:
    """Score nodes by how much their outputs change, float32 `(n_nodes,)`.

    The mean over examples of the squared change of a node's contribution to the
    residual stream, summed over positions: a control that needs no source.
    """
    squares = [each.sizes() for each in site_changes(model, changes)]
    examples = sum(each.stream.shape[1] for each in changes)
    return (torch.cat(squares) / examples).cpu()


def _run_stream(
    model: nn.Module, ids: Tensor, after: Prefix | None, start: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run prompts; return the stream by point and the sites' outputs, in float32."""
    with captured(model) as sites, captured_stream(model, start=start) as stream:
        answer_logits(model, ids, after=after)
    points = torch.stack([each.to(ids.device) for each in stream])
    return points.float(), [site.float() for site in sites]
