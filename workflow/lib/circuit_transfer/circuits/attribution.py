"""Score nodes: how far would the logit difference drop if a node were ablated?

The functions of the methods in `methods.METHODS` that score nodes, from one gradient to
patching every node; see Section 4 of the DFA paper (arXiv 2604.24302) and EAP-IG (arXiv
2403.17806). The gradient is taken at a node's output: at `z` for a head and at the
MLP's *output*.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.methods import FUNCTIONS, check_method, implements
from circuit_transfer.interventions import (
    answer_logits,
    captured,
    captured_stream,
    resumed,
)
from circuit_transfer.jobs.job import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attribution:
    """Scores of every example; positive means the node supports the answer.

    Attributes:
        nodes: float32 `(examples, n_nodes)`.
        effect: float32 `(examples,)`, logit difference of the clean run minus that of
            the ablated run (of the corrupted prompts, or with every node ablated): what
            ablating everything costs.
        input: float32 `(examples,)`, the score of the token embeddings by the same
            method (None where a method has none, and where they are not ablated, as
            under `zero` and `mean`). Under `nap-ig-inputs` it tends to `effect` with
            many steps, which shows whether the steps suffice.
    """

    nodes: Tensor
    effect: Tensor
    input: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return by name what there is."""
        return {name: each for name, each in vars(self).items() if each is not None}

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
    ig_steps: int = 10,
    ablation: str = "counterfactual",
    resume: Resume = NO_RESUME,
) -> Attribution:
    """Score every node of a model on every pair.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs; how they are cut into batches does not matter.
        method: one of `methods.node_methods`.
        ig_steps: steps of integrated gradients, for the methods that integrate.
        ablation: the output of an ablated node, see `ablations`.
        resume: saves the scores of the batches that are done; if they are cut in
            another way, it starts from the beginning.

    Raises:
        ValueError: the method or the ablation is unknown, or they do not go together.
    """
    check_method(method, ablation)
    score = FUNCTIONS[method]
    ablated = ablation_of(model, batches, ablation)
    resume.expect(batches=[len(batch) for batch in batches])
    parts: list[Attribution] = []
    done = 0

    def get_state() -> State:
        return State(_joined(parts).tensors(), {"done": done})

    state = resume.restore("batches", get_state)
    if state is not None:
        parts.append(Attribution(**state.tensors))
        done = state.notes["done"]
        log.info("attribution: batch %d of %d", done, len(batches))
    left = len(batches) - done
    for batch in progress(batches[done:], left, "batches of pairs"):
        found = score(model, ablated.shorten(batch), ablated, ig_steps).tensors()
        parts.append(Attribution(**{name: each.cpu() for name, each in found.items()}))
        done += 1
        resume.save()
    return _joined(parts)


def _joined(parts: Sequence[Attribution]) -> Attribution:
    inputs = [part.input for part in parts]
    return Attribution(
        nodes=torch.cat([part.nodes for part in parts]),
        effect=torch.cat([part.effect for part in parts]),
        input=None if None in inputs else torch.cat(inputs),
    )


@implements("nap")
def _gradient(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _ig_steps: int
) -> Attribution:
    """`nap`: the gradient at the clean run times the activation difference."""
    return _integrated(model, batch, ablated, steps=1)


@implements("nap-ig-inputs")
def _integrated(
    model: nn.Module, batch: PairBatch, ablated: Ablation, steps: int
) -> Attribution:
    """`nap-ig-inputs`: the gradient averaged on the way from corrupted to clean input.

    The last step is the clean run, which therefore needs no pass of its own.
    """
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    ablated_logits, outside = ablated.run(batch)
    total = _Total(steps)
    for step in range(1, steps + 1):
        point = torch.lerp(corrupted, clean, step / steps).requires_grad_()
        with captured(model) as sites:
            logits = answer_logits(model, embeddings=point, after=batch.prefix)
        diff = batch.logit_diff(logits)
        total.add(torch.autograd.grad(diff.sum(), [point, *sites]))
    of_input, *of_sites = total.mean()
    effect = diff - batch.logit_diff(ablated_logits)
    input_score = ((clean - corrupted).float() * of_input).sum((1, 2))
    return Attribution(
        nodes=products(sites, outside, of_sites),
        effect=effect.detach(),
        input=input_score if ablated.kind == "counterfactual" else None,
    )


@implements("nap-ig-activations")
def _integrated_by_site(
    model: nn.Module, batch: PairBatch, ablated: Ablation, steps: int
) -> Attribution:
    """`nap-ig-activations`: one site at a time moves from ablated to clean.

    Only the moved site's own gradient counts, averaged over the way. What is below
    the site is the same in every step, and is not run again.
    """
    clean = _run_clean(model, batch)
    ablated_logits, outside = ablated.run(batch)
    rows = rows_per_pass(model, batch) // len(batch)
    average = []
    for site, start in enumerate(outside):
        # As many steps side by side as there is room for in the graph of a whole pass.
        together = max(1, min(rows, len(outside) // (len(outside) - site)))
        total = _Total(steps)
        end = clean.sites[site]
        shares = torch.arange(1, steps + 1, device=end.device) / steps
        for part in shares.split(together):
            way = part[:, None, None, None, None].to(end)
            points = torch.lerp(start.to(end), end, way).flatten(0, 1).requires_grad_()
            with resumed(model, site, points, clean.sites, clean.stream):
                repeated = batch.repeat(len(part))
                logits = answer_logits(model, repeated.clean, after=batch.prefix)
            diff = repeated.logit_diff(logits).sum()
            gradient = torch.autograd.grad(diff, points)[0].float()
            total.add([gradient.unflatten(0, (len(part), -1)).sum(0)])
        average += total.mean()
    effect = batch.logit_diff(clean.logits) - batch.logit_diff(ablated_logits)
    return Attribution(products(clean.sites, outside, average), effect, input=None)


@implements("exact")
@torch.inference_mode()
def _ablated_alone(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _ig_steps: int
) -> Attribution:
    """`exact`: ablate one node alone and take the drop of the metric.

    What is below the node is as in the clean run, and is not run again.
    """
    clean = _run_clean(model, batch)
    full = batch.logit_diff(clean.logits)
    ablated_logits, outside = ablated.run(batch)
    together = max(1, rows_per_pass(model, batch) // len(batch))
    drops = []
    sites = enumerate(zip(clean.sites, outside, strict=True))
    for site, (kept, other) in progress(sites, len(outside), "sites ablated"):
        nodes = torch.arange(kept.shape[2], device=kept.device)
        for part in nodes.split(together):
            alone = (part[:, None] == nodes)[:, None, None, :, None]
            points = torch.where(alone, other.to(kept), kept).flatten(0, 1)
            with resumed(model, site, points, clean.sites, clean.stream):
                repeated = batch.repeat(len(part))
                logits = answer_logits(model, repeated.clean, after=batch.prefix)
            found = repeated.logit_diff(logits).unflatten(0, (len(part), -1))
            drops.append((full - found).T)
    effect = full - batch.logit_diff(ablated_logits)
    of_input = effect if ablated.kind == "counterfactual" else None
    return Attribution(torch.cat(drops, 1), effect, of_input)


@dataclass(frozen=True)
class _CleanRun:
    logits: Tensor
    sites: list[Tensor]
    stream: list[Tensor]


@torch.no_grad()
def _run_clean(model: nn.Module, batch: PairBatch) -> _CleanRun:
    with captured(model) as sites, captured_stream(model) as stream:
        logits = answer_logits(model, batch.clean, after=batch.prefix)
    return _CleanRun(logits, sites, stream)


class _Total:
    """A sum of gradients over steps, in float32 whatever the model computes in."""

    def __init__(self, steps: int):
        self.steps = steps
        self.sums: list[Tensor] = []

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Add one gradient of every kind, in the order of the first ones."""
        if not self.sums:
            self.sums = [gradient.float() for gradient in gradients]
        else:
            for total, gradient in zip(self.sums, gradients, strict=True):
                total += gradient

    def mean(self) -> list[Tensor]:
        """Return the sums over the number of steps, float32."""
        return [total / self.steps for total in self.sums]


def products(
    clean: Sequence[Tensor], ablated: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """Sum `(clean - ablated) * gradient` over positions and width.

    Returns float32 `(batch, n_nodes)`, on the device of the first site.
    """
    sites = zip(clean, ablated, gradients, strict=True)
    summed = [((a - b.to(a)).float() * g.float()).sum((1, 3)) for a, b, g in sites]
    return torch.cat([p.detach().to(clean[0].device) for p in summed], dim=1)
