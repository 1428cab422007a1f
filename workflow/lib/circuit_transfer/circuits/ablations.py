"""What a node writes when it is left out of a circuit.

`counterfactual`: what it writes on the corrupted prompt; `zero`: nothing; `mean`: the
mean of what it writes over all examples and positions of the task's clean prompts.
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
from circuit_transfer.models.architectures import node_sites
from circuit_transfer.prompts.batches import PairBatch, shortened

ABLATIONS = ("counterfactual", "zero", "mean")


@dataclass(frozen=True)
class Ablation:
    """One kind of ablation for one model and task, see `ablation_of`.

    Attributes:
        kind: one of `ABLATIONS`.
        model: the model that it is for.
        constant: what every site's nodes write on every prompt, each
            `(1, 1, nodes, width)` or, where all is the same, `(1, 1, nodes, 1)`; None
            for what depends on the prompt.
    """

    kind: str
    model: nn.Module
    constant: Sequence[Tensor] | None = None

    def shared(self, batch: PairBatch) -> int:
        """Return at how many of the first positions every circuit does the same.

        Those before the first corrupted token; none where nodes are ablated everywhere.
        """
        return batch.shared() if self.constant is None else 0

    def shorten(self, batch: PairBatch) -> PairBatch:
        """Run once what every circuit does, and leave the rest of the positions."""
        return shortened(self.model, batch, self.shared(batch))

    def writes(self, batch: PairBatch) -> Sequence[Tensor]:
        """Return what every site's nodes write instead, on the prompts of a batch.

        They broadcast to `(batch, position, nodes, width)`.
        """
        if self.constant is not None:
            return self.constant
        return run_captured(self.model, batch.corrupted, batch.prefix)[1]

    @torch.no_grad()
    def run(self, batch: PairBatch) -> tuple[Tensor, Sequence[Tensor]]:
        """Run a batch with every node ablated; return the answer logits and `writes`.

        The counterfactual run is that of the corrupted prompts, embeddings included.
        """
        if self.constant is None:
            return run_captured(self.model, batch.corrupted, batch.prefix)
        empty = torch.zeros(sum(site.shape[-2] for site in self.constant))
        with mixing(self.model, empty, self.constant):
            return answer_logits(self.model, batch.clean), self.constant


def ablation_of(model: nn.Module, batches: Sequence[PairBatch], kind: str) -> Ablation:
    """Prepare a kind of ablation for a model and the pairs of a task.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind == "counterfactual":
        return Ablation(kind, model)
    if kind == "zero":
        sizes = [n_nodes for _, _, n_nodes in node_sites(model)]
        return Ablation(kind, model, [torch.zeros(1, 1, n, 1) for n in sizes])
    if kind == "mean":
        return Ablation(kind, model, mean_activations(model, batches))
    raise ValueError(f"ablation {kind!r} is not one of {', '.join(ABLATIONS)}")


def mean_activations(model: nn.Module, batches: Sequence[PairBatch]) -> list[Tensor]:
    """Return what every site writes on average, each float32 `(1, 1, nodes, width)`.

    The mean over the examples and positions of the batches' clean prompts: a longer
    prompt counts more.
    """
    sums = [_site_sums(model, batch) for batch in batches]
    positions = sum(batch.clean.numel() for batch in batches)
    return [(sum(parts) / positions).float() for parts in zip(*sums, strict=True)]


def _site_sums(model: nn.Module, batch: PairBatch) -> list[Tensor]:
    _, activations = run_captured(model, batch.clean)
    # In float64, so that the order of the examples does not matter.
    return [site.double().sum((0, 1), keepdim=True) for site in activations]
