"""The heads that a task depends on, those that work against it, and their backups.

A head has a backup if its effect grows when another one is ablated: in language models
later heads make up for ablated name movers (Wang et al., arXiv 2211.00593, Section
3.3). Ablated alone, a head with a backup has little effect, or none; so heads are
looked for from both ends, with all others at work and with all others ablated (as by
denoising and noising, Heimersheim and Nanda, arXiv 2404.15255).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.head_roles import (
    HEAD_COLUMNS,
    NAMED,
    SCREENED,
    check_heads,
    highest,
    roles_of,
)
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import answer_logits, mixing
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.nodes import is_mlp
from circuit_transfer.prompts.batches import PairBatch

log = logging.getLogger(__name__)


def find_heads(
    model: nn.Module,
    batches: Sequence[PairBatch],
    nodes: Sequence[str],
    *,
    named: Sequence[str] = (),
    ablation: str = "counterfactual",
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Ablate every head alone, and some together with a strong one.

    The strong ones are those with the largest effects, and those that alone, with all
    other heads ablated, change the answer most.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs, at least one.
        nodes: names of the model's nodes, in their order.
        named: heads to describe; without them, those that are found.
        ablation: the output of an ablated head, see `ablations`.
        resume: saves the effects on the batches that are done.

    Returns:
        A row per head: `effect`, the mean drop of the logit difference without it;
        `effect_without`, that without it and the strong head `without` for which it is
        largest (null if there is no other one), less that without the strong head;
        `role`: `strongest`, `negative`, or `backup` of the heads whose effect grows
        most, at most four of each, in this order; or `named`.

    Raises:
        ValueError: a named head is not one of the model's.
    """
    check_heads(named, nodes)
    heads = np.array([not is_mlp(name) for name in nodes])
    how = {"ablation": ablation, "resume": resume}
    exact = attribute(model, batches, method="exact", **how).mean().cpu().numpy()
    effects = np.where(heads, exact, np.float32(0))
    screen = _Screen(model, batches, ablation_of(model, batches, ablation), heads)
    strongest, negative = highest(effects), highest(-effects)
    strong = _distinct([*strongest, *highest(screen.alone())])
    chosen = [nodes.index(name) for name in named]
    if not named:
        chosen = [*strongest, *negative, *highest(screen.growth(strong), SCREENED)]
    chosen = _distinct(chosen)
    drops, others = _drops_without(model, batches, strong, chosen, len(nodes), how)
    log.info("%d heads, with %d ablated in turn", len(chosen), len(strong))
    roles: list[str | None] = [NAMED] * len(named)
    roles = roles or roles_of(effects[chosen], drops, len(strongest), len(negative))
    columns = [chosen, effects[chosen], drops, others, roles]
    return _frame(nodes, columns).drop_nulls("role")


def _frame(nodes: Sequence[str], columns: Sequence[Sequence]) -> pl.DataFrame:
    """Return the frame of `HEAD_COLUMNS`, whose heads are numbers of nodes."""
    found = dict(zip(HEAD_COLUMNS, columns, strict=True))
    for name in ("head", "without"):
        found[name] = [None if node is None else nodes[node] for node in found[name]]
    return pl.DataFrame(found, HEAD_COLUMNS)


def _distinct(nodes: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(nodes))


@dataclass(frozen=True)
class _Screen:
    """First-order effects of heads, by the gradient for the share that is at work."""

    model: nn.Module
    batches: Sequence[PairBatch]
    ablated: Ablation
    heads: np.ndarray

    def alone(self) -> np.ndarray:
        """Return the effect of every head where all heads are ablated."""
        return self._slopes(~self.heads)

    def growth(self, strong: Sequence[int]) -> np.ndarray:
        """Return by how much effects grow if a strong head is ablated: the most."""
        if not strong:
            return np.zeros(len(self.heads))
        every = np.arange(len(self.heads))
        whole = self._slopes(every >= 0)
        found = [self._slopes(every != node) for node in strong]
        # A strong head that is ablated itself has no effect left to grow.
        found = [
            np.where(every == node, -np.inf, each)
            for node, each in zip(strong, found, strict=True)
        ]
        growth = np.max(found, axis=0) - whole
        return np.where(np.isfinite(growth), growth, 0.0)

    def _slopes(self, kept: np.ndarray) -> np.ndarray:
        """Return the slopes at a circuit of nodes, bool `(n_nodes,)`; 0 of MLPs."""
        mask = torch.from_numpy(kept).float().requires_grad_()
        total, examples = torch.zeros(len(kept), dtype=torch.float64), 0
        for batch in progress(self.batches, len(self.batches), "batch"):
            short = self.ablated.shorten(batch)
            with mixing(self.model, mask, self.ablated.outputs(short)):
                logits = answer_logits(self.model, short.clean, after=short.prefix)
            diff = short.logit_diff(logits).sum()
            total += torch.autograd.grad(diff, mask)[0].double()
            examples += len(short)
        return np.where(self.heads, (total / examples).numpy(), 0.0)


def _drops_without(
    model: nn.Module,
    batches: Sequence[PairBatch],
    strong: Sequence[int],
    chosen: Sequence[int],
    n_nodes: int,
    how: Mapping[str, Any],
) -> tuple[list[float | None], list[int | None]]:
    """Return the largest drop of every chosen head without another one, and which."""
    pairs = [(node, other) for node in chosen for other in strong if node != other]
    removed = [{other} for _, other in pairs] + [{*pair} for pair in pairs]
    masks = torch.ones(len(removed), n_nodes)
    for mask, nodes in zip(masks, removed, strict=True):
        mask[list(nodes)] = 0.0
    found: dict[int, tuple[float, int]] = {}
    if pairs:
        diffs = run_circuits(model, batches, masks, **how).logit_diff.double().mean(1)
        before, after = diffs.split(len(pairs))
        drops = zip(pairs, (before - after).tolist(), strict=True)
        for (node, other), drop in drops:
            found[node] = max(found.get(node, (drop, other)), (drop, other))
    best = [found.get(node, (None, None)) for node in chosen]
    return [drop for drop, _ in best], [other for _, other in best]
