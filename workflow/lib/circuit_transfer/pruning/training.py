"""The training loop of masks over edges, several side by side.

Every step takes one prepared batch, runs the model under each mask, and follows the
gradient of its distance from the full model.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.metrics import answer_divergence, unfaithfulness
from circuit_transfer.circuits.prepared_edges import PreparedEdges
from circuit_transfer.interventions import Plan, Storage, plan_edges, soft_edge_logits
from circuit_transfer.jobs.progress import activity, progress
from circuit_transfer.jobs.resume import (
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)
from circuit_transfer.pruning.side_by_side import circuits_at_once, room_on

log = logging.getLogger(__name__)

# The share of the learning rates that is left at the end of a cool-down.
SLOWEST = 0.1


class Masks(Protocol):
    """Masks over the edges that are trained.

    Attributes:
        method: name of the method, for messages.
        support: the edges that a mask can open, bool `(n_edges,)`; the others are not
            computed.
        rate_warmup: see `settings.EdgePruning`.
        rate_cooldown: likewise.
        gradient_norm: likewise.
        weight_decay: AdamW's.
    """

    method: str
    support: np.ndarray
    rate_warmup: float
    rate_cooldown: float
    gradient_norm: float
    weight_decay: float

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters of the optimiser, with learning rates.

        Those of the masks come first, with a row for each mask, or one for all.
        """

    def draw(self, step: int) -> Tensor:
        """Return the masks of a step, float32 `(masks, n_edges)`, 0 to 1."""

    def penalty(self, step: int) -> Tensor:
        """Return what is added to the loss of every mask, `(masks,)`."""

    def measures(self, step: int) -> Mapping[str, Tensor]:
        """Return what the curves show besides loss and divergence, `(masks,)` each.

        After the backward pass of a step, before the optimiser's.
        """

    def remedy(self) -> str:
        """Return which settings to change if the training fails, with their values."""


# The loss of every mask: of a batch and the logits `(masks, batch, vocabulary)`.
Objective = Callable[[PreparedEdges, Tensor], Tensor]


def divergence(prepared: PreparedEdges, logits: Tensor) -> Tensor:
    """Return KL(full || circuit) at the answer position, the mean over a batch."""
    return answer_divergence(prepared.full, logits).mean(-1)


def effect_distance(prepared: PreparedEdges, logits: Tensor) -> Tensor:
    """Return |1 - faithfulness| on a batch, as the area objective of alignments."""
    return unfaithfulness(prepared.batch, prepared.full, prepared.empty, logits)


LOSSES: dict[str, Objective] = {"kl": divergence, "logit-diff": effect_distance}


def train(
    model: nn.Module,
    prepared: Sequence[PreparedEdges],
    masks: Masks,
    *,
    steps: int,
    objective: str,
    silent: bool,
    seed: int,
    resume: Resume = NO_RESUME,
) -> dict[str, Tensor]:
    """Train masks in place; the seed decides the order of the batches.

    Args:
        model: a causal language model with frozen parameters.
        prepared: the batches; every epoch takes all of them in another order.
        masks: what is trained.
        steps: how many, of one batch each.
        objective: `kl` or `logit-diff`, see `LOSSES`.
        silent: whether an edge without an effect on its writer's input is without
            effect, see `edge_plans.plan_edges`.
        seed: of the order of batches.
        resume: saves the training's progress.

    Returns:
        Curves of what was measured in every step, each `(masks, steps)`: `loss`, `kl`
        and what the masks measure themselves.

    Raises:
        ValueError: a loss is not a number.
    """
    graph = prepared[0].runs.graph
    plan = plan_edges(graph, masks.support[None], silent=silent)
    training, room = Training(masks, steps), room_on(model.device)
    # How circuits are put together in passes decides the rounding.
    resume.expect(room=room)
    state = resume.restore(f"{masks.method}/seed-{seed}", training.state)
    if state is not None:
        training.resume(state)
    order = islice(batch_order(len(prepared), seed), training.done, steps)
    with activity(training.status):
        for index in progress(order, steps, "step", done=training.done):
            each = prepared[index]
            at_once = circuits_at_once(model, graph.kv, each.batch, room)
            training.step(model, each, plan, LOSSES[objective], at_once)
            resume.save()
    return training.curves()


def batch_order(batches: int, seed: int) -> Iterator[int]:
    """Yield the number of the batch of every step, without end."""
    for epoch in count():
        yield from np.random.default_rng([seed, epoch]).permutation(batches).tolist()


class Training:
    """Masks that are trained: optimiser, learning rates, and curves so far."""

    def __init__(self, masks: Masks, steps: int):
        """Prepare the training of masks for so many steps."""
        self.masks, self.steps = masks, steps
        self.optimiser = torch.optim.AdamW(
            masks.groups(), weight_decay=masks.weight_decay
        )
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._curve: list[dict[str, Tensor]] = []
        self._logged = 0
        self._storage = Storage()

    @property
    def done(self) -> int:
        """The number of steps taken."""
        return len(self._curve)

    def step(
        self,
        model: nn.Module,
        prepared: PreparedEdges,
        plan: Plan,
        loss: Objective,
        at_once: int | None = None,
    ) -> None:
        """Take one step on one batch.

        Args:
            model: see `train`.
            prepared: the batch.
            plan: of the edges that can be open.
            loss: of every mask.
            at_once: how many masks run side by side in a pass, by default all.

        Raises:
            ValueError: a loss is not a number.
        """
        self.optimiser.zero_grad()
        masks = self.masks.draw(self.done)
        penalty = self.masks.penalty(self.done)
        # Each pass ends here, so that no two of them are in memory at once.
        given, measured = masks.detach().requires_grad_(), []
        for rows in given.split(at_once or len(masks)):
            logits = soft_edge_logits(model, prepared.runs, plan, rows, self._storage)
            logits = logits.unflatten(0, (len(rows), -1))
            losses = loss(prepared, logits)
            losses.sum().backward()
            found = losses.detach(), divergence(prepared, logits.detach())
            measured.append(found)
        losses, divergences = (torch.cat(each) for each in zip(*measured, strict=True))
        losses = losses + penalty
        self._check(losses)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._rate_share()
        outside = [penalty.sum()] if penalty.requires_grad else []
        torch.autograd.backward([masks, *outside], [given.grad, *[None] * len(outside)])
        curve = {"loss": losses, "kl": divergences}
        curve |= self.masks.measures(self.done)
        self._clip()
        self.optimiser.step()
        self._curve.append({name: each.detach() for name, each in curve.items()})

    def status(self) -> str:
        """Return how the training is going, in words."""
        if not self._curve:
            return self.masks.method
        last = {name: each.mean().item() for name, each in self._curve[-1].items()}
        parts = [f"divergence {last['kl']:.3g}"]
        if "open_share" in last:
            parts.append(f"{last['open_share']:.1%} of the edges open")
            parts.append(f"{last['target']:.1%} the target")
        return f"{self.masks.method}, {', '.join(parts)}"

    def curves(self) -> dict[str, Tensor]:
        """Return what was measured, float32 `(masks, steps)` by name."""
        names = self._curve[0] if self._curve else {}
        return {
            name: torch.stack([each[name] for each in self._curve], 1).float().cpu()
            for name in names
        }

    def state(self) -> State:
        """Return everything that the next step depends on, and the curves."""
        learned = {f"learned/{i}": each for i, each in enumerate(self._learned())}
        curves = {f"curve/{name}": each for name, each in self.curves().items()}
        return State(learned | optimiser_tensors(self.optimiser) | curves, {})

    def resume(self, state: State) -> None:
        """Resume from a saved state."""
        learned = self._learned()
        for index, each in enumerate(learned):
            each.data.copy_(state.tensors[f"learned/{index}"])
        set_optimiser_(self.optimiser, state.tensors)
        curves = {
            name.removeprefix("curve/"): each.to(learned[0].device)
            for name, each in state.tensors.items()
            if name.startswith("curve/")
        }
        steps = curves["loss"].shape[1]
        self._curve = [
            {name: each[:, step] for name, each in curves.items()}
            for step in range(steps)
        ]
        log.info(
            "%s: resumed after %d of %d steps", self.masks.method, steps, self.steps
        )

    def _learned(self) -> list[Tensor]:
        groups = self.optimiser.param_groups
        return [each for group in groups for each in group["params"]]

    def _clip(self) -> None:
        """Scale down the gradient of each mask whose norm is too large."""
        learned = self.optimiser.param_groups[0]["params"]
        rows = [each.grad.view(-1, each.shape[-1]) for each in learned]
        norms = torch.cat(rows, 1).norm(dim=1, keepdim=True)
        shares = (self.masks.gradient_norm / norms.clamp(min=1e-30)).clamp(max=1)
        for each in rows:
            each.mul_(shares)

    def _rate_share(self) -> float:
        """Return the share of the learning rates in this step."""
        rising = self.masks.rate_warmup * self.steps
        if not rising:
            falling = self.masks.rate_cooldown * self.steps
            left = (self.steps - self.done) / falling if falling else 1.0
            return max(SLOWEST, min(1.0, left))
        if self.done < rising:
            return (self.done + 1) / math.ceil(rising)
        return (self.steps - self.done) / (self.steps - rising)

    def _check(self, losses: Tensor) -> None:
        if not losses.isfinite().all():
            raise ValueError(
                f"{self.masks.method}: the loss is {losses.tolist()} in step "
                f"{self.done + 1} of {self.steps}; {self.masks.remedy()}"
            )
