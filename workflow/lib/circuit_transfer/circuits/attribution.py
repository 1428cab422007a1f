"""Score nodes: how far would the logit difference drop if a node were ablated?

The functions of the methods in `methods.METHODS` that score nodes, from one gradient to
patching every node; see Section 4 of the DFA paper (arXiv 2604.24302), EAP-IG (arXiv
2403.17806) and RelP (arXiv 2508.21258). The gradient is taken at a node's output: at
`z` for a head and at the MLP's *output*.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.methods import (
    FUNCTIONS,
    check_method,
    implements,
    step_shares,
    takes_steps,
)
from circuit_transfer.circuits.totals import Total
from circuit_transfer.interventions import (
    answer_logits,
    captured,
    captured_stream,
    relp_gradients,
    resumed,
)
from circuit_transfer.jobs.progress import progress
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
    how = {"method": method, "ablation": ablation, "resume": resume}
    return attribute_by_steps(model, batches, counts=[ig_steps], **how)[ig_steps]


def attribute_by_steps(
    model: nn.Module,
    batches: Sequence[PairBatch],
    *,
    method: str,
    counts: Sequence[int],
    ablation: str = "counterfactual",
    resume: Resume = NO_RESUME,
) -> dict[int, Attribution]:
    """Score every node with several numbers of steps; steps that they share run once.

    Args:
        model: as in `attribute`, like the other arguments.
        batches: the pairs.
        method: one that integrates over steps, if there are several numbers of them.
        counts: the numbers of steps, all different.
        ablation: the output of an ablated node.
        resume: as in `attribute`.

    Raises:
        ValueError: as in `attribute`, or the numbers do not go with the method.
    """
    check_method(method, ablation, scores="nodes")
    _check_counts(method, counts)
    score = FUNCTIONS[method]
    ablated = ablation_of(model, batches, ablation)
    resume.expect(batches=[len(batch) for batch in batches])
    parts: dict[int, list[Attribution]] = {count: [] for count in counts}
    done = 0

    state = resume.restore("batches", lambda: _state(parts, done))
    if state is not None:
        for count, of_count in parts.items():
            of_count.append(_restored(state, count))
        done = state.notes["done"]
        log.info("attribution: batch %d of %d", done, len(batches))
    for batch in progress(batches[done:], len(batches), "batch", done=done):
        found = score(model, ablated.shorten(batch), ablated, counts)
        for of_count, result in zip(parts.values(), found, strict=True):
            tensors = result.tensors().items()
            of_count.append(Attribution(**{name: each.cpu() for name, each in tensors}))
        done += 1
        resume.save()
    return {count: _joined(of_count) for count, of_count in parts.items()}


def _check_counts(method: str, counts: Sequence[int]) -> None:
    if len(set(counts)) < len(counts):
        raise ValueError(f"numbers of steps {list(counts)}: expected different ones")
    if len(counts) > 1 and not takes_steps(method):
        raise ValueError(
            f"{len(counts)} numbers of steps with {method}, which does not integrate "
            "over steps; expected one"
        )


def _state(parts: Mapping[int, Sequence[Attribution]], done: int) -> State:
    tensors = {
        f"{count}/{name}": tensor
        for count, of_count in parts.items()
        for name, tensor in _joined(of_count).tensors().items()
    }
    return State(tensors, {"done": done})


def _restored(state: State, count: int) -> Attribution:
    start = f"{count}/"
    return Attribution(
        **{
            name.removeprefix(start): tensor
            for name, tensor in state.tensors.items()
            if name.startswith(start)
        }
    )


def _joined(parts: Sequence[Attribution]) -> Attribution:
    inputs = [part.input for part in parts]
    return Attribution(
        nodes=torch.cat([part.nodes for part in parts]),
        effect=torch.cat([part.effect for part in parts]),
        input=None if None in inputs else torch.cat(inputs),
    )


@implements("nap")
def _gradient(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _counts: Sequence[int]
) -> list[Attribution]:
    """`nap`: the gradient at the clean run times the activation difference."""
    return _integrated(model, batch, ablated, [1])


@implements("nap-relp")
def _relevance(
    model: nn.Module, batch: PairBatch, ablated: Ablation, counts: Sequence[int]
) -> list[Attribution]:
    """`nap-relp`: as `nap`, with the gradient by the rules of RelP."""
    with relp_gradients(model):
        return _gradient(model, batch, ablated, counts)


@implements("nap-ig-inputs")
def _integrated(
    model: nn.Module, batch: PairBatch, ablated: Ablation, counts: Sequence[int]
) -> list[Attribution]:
    """`nap-ig-inputs`: the gradient averaged on the way from corrupted to clean input.

    The last step is the clean run, which therefore needs no pass of its own.
    """
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    ablated_logits, outside = ablated.run(batch)
    totals = [Total(count) for count in counts]
    shares = step_shares(counts)
    for share in progress(shares, len(shares), "step"):
        point = torch.lerp(corrupted, clean, float(share)).requires_grad_()
        with captured(model) as sites:
            logits = answer_logits(model, embeddings=point, after=batch.prefix)
        diff = batch.logit_diff(logits)
        gradients = torch.autograd.grad(diff.sum(), [point, *sites])
        for total in totals:
            if total.includes(share):
                total.add(gradients)
    effect = (diff - batch.logit_diff(ablated_logits)).detach()
    results = []
    for total in totals:
        of_input, *of_sites = total.mean()
        nodes = products(sites, outside, of_sites)
        of_input = ((clean - corrupted).float() * of_input).sum((1, 2))
        known = of_input if ablated.kind == "counterfactual" else None
        results.append(Attribution(nodes, effect, known))
    return results


@implements("nap-ig-activations")
def _integrated_by_site(
    model: nn.Module, batch: PairBatch, ablated: Ablation, counts: Sequence[int]
) -> list[Attribution]:
    """`nap-ig-activations`: one site at a time moves from ablated to clean.

    Only the moved site's own gradient counts, averaged over the way. What is below
    the site is the same in every step, and is not run again.
    """
    clean = _run_clean(model, batch)
    ablated_logits, outside = ablated.run(batch)
    rows = rows_per_pass(model, batch) // len(batch)
    averages: list[list[Tensor]] = [[] for _ in counts]
    shares = step_shares(counts)
    sites = progress(enumerate(outside), len(outside), "site")
    for site, start in sites:
        # As many steps side by side as there is room for in the graph of a whole pass.
        together = max(1, min(rows, len(outside) // (len(outside) - site)))
        totals = [Total(count) for count in counts]
        end = clean.sites[site]
        firsts = range(0, len(shares), together)
        for first in progress(firsts, len(firsts), "pass"):
            part = shares[first : first + together]
            way = torch.tensor([float(share) for share in part])
            way = way[:, None, None, None, None].to(end)
            points = torch.lerp(start.to(end), end, way).flatten(0, 1).requires_grad_()
            with resumed(model, site, points, clean.sites, clean.stream):
                repeated = batch.repeat(len(part))
                logits = answer_logits(model, repeated.clean, after=batch.prefix)
            diff = repeated.logit_diff(logits).sum()
            gradients = torch.autograd.grad(diff, points)[0].float()
            gradients = gradients.unflatten(0, (len(part), -1))
            for total in totals:
                own = [n for n, share in enumerate(part) if total.includes(share)]
                if own:
                    total.add([gradients[own].sum(0)])
        for average, total in zip(averages, totals, strict=True):
            average += total.mean()
    effect = batch.logit_diff(clean.logits) - batch.logit_diff(ablated_logits)
    return [
        Attribution(products(clean.sites, outside, average), effect, input=None)
        for average in averages
    ]


@implements("exact")
@torch.inference_mode()
def _ablated_alone(
    model: nn.Module, batch: PairBatch, ablated: Ablation, _counts: Sequence[int]
) -> list[Attribution]:
    """`exact`: ablate one node alone and take the drop of the metric.

    What is below the node is as in the clean run, and is not run again.
    """
    clean = _run_clean(model, batch)
    full = batch.logit_diff(clean.logits)
    ablated_logits, outside = ablated.run(batch)
    together = max(1, rows_per_pass(model, batch) // len(batch))
    drops = []
    sites = enumerate(zip(clean.sites, outside, strict=True))
    for site, (kept, other) in progress(sites, len(outside), "site"):
        nodes = torch.arange(kept.shape[2], device=kept.device)
        parts = nodes.split(together)
        for part in progress(parts, len(parts), "pass"):
            alone = (part[:, None] == nodes)[:, None, None, :, None]
            points = torch.where(alone, other.to(kept), kept).flatten(0, 1)
            with resumed(model, site, points, clean.sites, clean.stream):
                repeated = batch.repeat(len(part))
                logits = answer_logits(model, repeated.clean, after=batch.prefix)
            found = repeated.logit_diff(logits).unflatten(0, (len(part), -1))
            drops.append((full - found).T)
    effect = full - batch.logit_diff(ablated_logits)
    of_input = effect if ablated.kind == "counterfactual" else None
    return [Attribution(torch.cat(drops, 1), effect, of_input)]


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


def products(
    clean: Sequence[Tensor], ablated: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """Sum `(clean - ablated) * gradient` over positions and width.

    Returns float32 `(batch, n_nodes)`, on the device of the first site.
    """
    sites = zip(clean, ablated, gradients, strict=True)
    summed = [((a - b.to(a)).float() * g.float()).sum((1, 3)) for a, b, g in sites]
    return torch.cat([p.detach().to(clean[0].device) for p in summed], dim=1)
