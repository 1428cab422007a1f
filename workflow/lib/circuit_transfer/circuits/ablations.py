"""Ablations: what replaces the output of a node outside a circuit.

`counterfactual`: its output on the corrupted prompt; `zero`: zero; `mean`: its mean
output over all examples and positions of the task's clean prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.interventions import (
    answer_logits,
    mixing,
    run_captured,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.architectures import node_sites
from circuit_transfer.prompts.batches import PairBatch, cacheable, shortened

ABLATIONS = ("counterfactual", "zero", "mean")


@dataclass(frozen=True)
class Ablation:
    """One kind of ablation for one model and task, see `ablation_of`.

    Attributes:
        kind: one of `ABLATIONS`.
        model: the model that it is for.
        constant: by site, the outputs that replace those of its nodes on every prompt,
            each `(1, 1, nodes, width)` or, where they are equal along the width,
            `(1, 1, nodes, 1)`; None where they depend on the prompt.
        embedding: what replaces every token embedding where edges are ablated, since
            those of the input are edges like others, `(1, 1, d_model)`; None where it
            depends on the prompt.
    """

    kind: str
    model: nn.Module
    constant: Sequence[Tensor] | None = None
    embedding: Tensor | None = None

    def shared(self, batch: PairBatch) -> int:
        """Return the number of first positions that run once for all circuits.

        Those before the first corrupted token; none where nodes are ablated everywhere,
        or where the model cannot run them alone.
        """
        if self.constant is not None:
            return 0
        return cacheable(self.model, batch, batch.shared())

    def shorten(self, batch: PairBatch) -> PairBatch:
        """Run the first positions, equal for all circuits, and return the others."""
        return shortened(self.model, batch, self.shared(batch))

    def outputs(self, batch: PairBatch) -> Sequence[Tensor]:
        """Return by site the outputs of ablated nodes, on the prompts of a batch.

        They broadcast to `(batch, position, nodes, width)`.
        """
        if self.constant is not None:
            return self.constant
        return run_captured(self.model, batch.corrupted, batch.prefix)[1]

    @torch.no_grad()
    def run(self, batch: PairBatch) -> tuple[Tensor, Sequence[Tensor]]:
        """Run a batch with every node ablated; return the answer logits and `outputs`.

        The counterfactual run is that of the corrupted prompts, embeddings included.
        """
        if self.constant is None:
            return run_captured(self.model, batch.corrupted, batch.prefix)
        empty = torch.zeros(sum(site.shape[-2] for site in self.constant))
        with mixing(self.model, empty, self.constant):
            return answer_logits(self.model, batch.clean), self.constant

    @torch.no_grad()
    def run_with_input(self, batch: PairBatch) -> tuple[Tensor, Sequence[Tensor]]:
        """Run a batch as `run` does, with the token embeddings ablated too."""
        if self.constant is None:
            return self.run(batch)
        empty = torch.zeros(sum(site.shape[-2] for site in self.constant))
        embeddings = self.embedding.expand(*batch.clean.shape, -1)
        with mixing(self.model, empty, self.constant):
            logits = answer_logits(self.model, embeddings=embeddings)
        return logits, self.constant


def ablation_of(model: nn.Module, batches: Sequence[PairBatch], kind: str) -> Ablation:
    """Prepare a kind of ablation for a model and the pairs of a task.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind == "counterfactual":
        return Ablation(kind, model)
    if kind == "zero":
        sizes = [n_nodes for _, _, n_nodes in node_sites(model)]
        zeros = [torch.zeros(1, 1, n, 1) for n in sizes]
        return Ablation(kind, model, zeros, _zero_embedding(model))
    if kind == "mean":
        means = mean_activations(model, batches)
        return Ablation(kind, model, means, _mean_embedding(model, batches))
    raise ValueError(f"ablation {kind!r} is not one of {', '.join(ABLATIONS)}")


def mean_activations(model: nn.Module, batches: Sequence[PairBatch]) -> list[Tensor]:
    """Return the mean outputs of every site, each float32 `(1, 1, nodes, width)`.

    The mean over the examples and positions of the batches' clean prompts: a longer
    prompt counts more.
    """
    every = progress(batches, len(batches), "averaging batch")
    sums = [_site_sums(model, batch) for batch in every]
    positions = sum(batch.clean.numel() for batch in batches)
    return [(sum(parts) / positions).float() for parts in zip(*sums, strict=True)]


def _site_sums(model: nn.Module, batch: PairBatch) -> list[Tensor]:
    _, activations = run_captured(model, batch.clean)
    # In float64, so that the order of the examples does not matter.
    return [site.double().sum((0, 1), keepdim=True) for site in activations]


def _zero_embedding(model: nn.Module) -> Tensor:
    embed = model.get_input_embeddings()
    return torch.zeros_like(embed(torch.zeros(1, 1, dtype=int, device=model.device)))


@torch.no_grad()
def _mean_embedding(model: nn.Module, batches: Sequence[PairBatch]) -> Tensor:
    """Return the mean over the examples and positions of the clean prompts."""
    embed = model.get_input_embeddings()
    sums = [embed(batch.clean).double().sum((0, 1)) for batch in batches]
    positions = sum(batch.clean.numel() for batch in batches)
    mean = sum(sums, torch.zeros(())) / positions
    return mean.to(model.dtype).view(1, 1, -1)
