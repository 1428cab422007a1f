"""Score nodes: how far would the logit difference drop if a node were ablated?

Four answers, from one gradient (`nap`) to patching every node (`exact`); see Section 4
of the DFA paper (arXiv 2604.24302) and EAP-IG (arXiv 2403.17806). The gradient is taken
where a node writes: at `z` for a head and at the MLP's *output*.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.ablations import Ablation, ablation_of
from circuit_transfer.batches import PairBatch
from circuit_transfer.interventions import (
    answer_logits,
    captured,
    edited,
    mixing,
    run_captured,
)
from circuit_transfer.job import progress


@dataclass(frozen=True)
class Attribution:
    """Scores of every example; positive means the node supports the answer.

    Attributes:
        nodes: float32 `(examples, n_nodes)`.
        effect: float32 `(examples,)`, logit difference of the clean run minus that of
            the ablated run (of the corrupted prompts, or with every node ablated): what
            ablating everything costs.
        input: float32 `(examples,)`, the score of the token embeddings by the same
            method (None for `nap-ig-activations`, and where they are not ablated, as
            under `zero` and `mean`). Under `nap-ig-inputs` it tends to `effect` with
            many steps, which shows whether the steps suffice.
    """

    nodes: Tensor
    effect: Tensor
    input: Tensor | None

    def mean(self) -> Tensor:
        """Return the mean score of every node, float32 `(n_nodes,)`."""
        # In float64, so that the order of the examples does not matter.
        return self.nodes.double().mean(0).float()

    def summary(self) -> dict[str, float]:
        """Return the mean effect and, where there is one, the mean input score."""
        parts = {"effect": self.effect, "input_score": self.input}
        return {
            name: part.double().mean().item()
            for name, part in parts.items()
            if part is not None
        }


def attribute(
    model: nn.Module,
    batches: Sequence[PairBatch],
    *,
    method: str,
    ig_steps: int = 5,
    ablation: str = "counterfactual",
) -> Attribution:
    """Score every node of a model on every pair.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs; how they are cut into batches does not matter.
        method: `nap`, `nap-ig-inputs`, `nap-ig-activations` or `exact`.
        ig_steps: steps of integrated gradients, for the two methods that integrate.
        ablation: what a node that is left out writes, see `ablations`.

    Raises:
        ValueError: the method or the ablation is unknown, or they do not go together.
    """
    check_method(method, ablation)
    score = METHODS[method]
    ablated = ablation_of(model, batches, ablation)
    parts = [
        score(model, batch, ablated, ig_steps)
        for batch in progress(batches, len(batches), "batches of pairs")
    ]
    inputs = [part.input for part in parts]
    return Attribution(
        nodes=torch.cat([part.nodes for part in parts]),
        effect=torch.cat([part.effect for part in parts]),
        input=None if None in inputs else torch.cat(inputs),
    )


def check_method(method: str, ablation: str) -> None:
    """Check that a method can score nodes under an ablation.

    Raises:
        ValueError: the method is unknown, or needs corrupted prompts and the ablation
            has none.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if method == "nap-ig-inputs" and ablation != "counterfactual":
        raise ValueError(
            f"nap-ig-inputs goes from the corrupted prompt to the clean one, and "
            f"ablation {ablation!r} has no corrupted prompt: use nap-ig-activations, "
            f"nap or exact, or the ablation counterfactual"
        )


def _gradient(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _ig_steps: int
) -> Attribution:
    """`nap`: the gradient at the clean run times the activation difference."""
    return _integrated(model, batch, ablated, steps=1)


def _integrated(
    model: nn.Module, batch: PairBatch, ablated: Ablation, steps: int
) -> Attribution:
    """`nap-ig-inputs`: the gradient averaged on the way from corrupted to clean input.

    The last step is the clean run, which therefore needs no pass of its own.
    """
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    ablated_logits, outside = ablated.run(batch)
    total = None
    for step in range(1, steps + 1):
        point = torch.lerp(corrupted, clean, step / steps).requires_grad_()
        with captured(model) as sites:
            logits = answer_logits(model, embeddings=point)
        diff = batch.logit_diff(logits)
        gradients = torch.autograd.grad(diff.sum(), [point, *sites])
        total = gradients if total is None else _added(total, gradients)
    average = [gradient / steps for gradient in total]
    effect = diff - batch.logit_diff(ablated_logits)
    of_input = ((clean - corrupted).float() * average[0].float()).sum((1, 2))
    return Attribution(
        nodes=products(sites, outside, average[1:]),
        effect=effect.detach(),
        input=of_input if ablated.kind == "counterfactual" else None,
    )


def _integrated_by_site(
    model: nn.Module, batch: PairBatch, ablated: Ablation, steps: int
) -> Attribution:
    """`nap-ig-activations`: one site at a time moves from ablated to clean.

    Only the moved site's own gradient counts, averaged over the way.
    """
    clean_logits, clean = run_captured(model, batch.clean)
    ablated_logits, outside = ablated.run(batch)
    average = []
    for site, start in enumerate(outside):
        total = torch.zeros_like(clean[site])
        for step in range(1, steps + 1):
            point = torch.lerp(start.to(total), clean[site], step / steps)
            point.requires_grad_()
            with edited(model, _constant(point), sites=[site]):
                diff = batch.logit_diff(answer_logits(model, batch.clean))
            total += torch.autograd.grad(diff.sum(), point)[0]
        average.append(total / steps)
    effect = batch.logit_diff(clean_logits) - batch.logit_diff(ablated_logits)
    return Attribution(products(clean, outside, average), effect, input=None)


@torch.no_grad()
def _ablated_alone(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _ig_steps: int
) -> Attribution:
    """`exact`: ablate one node alone and take the drop of the metric."""
    clean = batch.logit_diff(answer_logits(model, batch.clean))
    ablated_logits, outside = ablated.run(batch)
    n_nodes = sum(site.shape[-2] for site in outside)
    drops = []
    for node in progress(range(n_nodes), n_nodes, "nodes ablated"):
        mask = torch.ones(n_nodes, device=clean.device)
        mask[node] = 0
        with mixing(model, mask, outside):
            drops.append(clean - batch.logit_diff(answer_logits(model, batch.clean)))
    effect = clean - batch.logit_diff(ablated_logits)
    of_input = effect if ablated.kind == "counterfactual" else None
    return Attribution(torch.stack(drops, 1), effect, of_input)


def _constant(value: Tensor) -> Callable[[int, Tensor], Tensor]:
    return lambda _site, _live: value


def _added(left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(left, right, strict=True)]


def products(
    clean: Sequence[Tensor], ablated: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """Sum `(clean - ablated) * gradient` over positions and width.

    Returns float32 `(batch, n_nodes)`, on the device of the first site.
    """
    sites = zip(clean, ablated, gradients, strict=True)
    summed = [((a - b.to(a)).float() * g.float()).sum((1, 3)) for a, b, g in sites]
    return torch.cat([p.detach().to(clean[0].device) for p in summed], dim=1)


METHODS = {
    "nap": _gradient,
    "nap-ig-inputs": _integrated,
    "nap-ig-activations": _integrated_by_site,
    "exact": _ablated_alone,
}
