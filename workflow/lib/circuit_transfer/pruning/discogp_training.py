"""The training loop of DiscoGP.

Every step draws gates, runs the circuit and then what it leaves out on one batch, each
with a backward pass of its own so that only one of the two is in memory, and follows
the sum of their gradients and that of the density.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.jobs.progress import activity, progress
from circuit_transfer.jobs.resume import (
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)
from circuit_transfer.pruning.discogp_gates import EDGE, WEIGHT, Gates
from circuit_transfer.pruning.discogp_losses import (
    right_answer_loss,
    same_answers_loss,
    uniform_loss,
)
from circuit_transfer.pruning.discogp_settings import (
    ANSWER,
    BOTH,
    WEIGHTS,
    WEIGHTS_FIRST,
    ZERO,
    DiscoGP,
)
from circuit_transfer.pruning.joint_circuits import JointCircuits
from circuit_transfer.pruning.training import batch_order
from circuit_transfer.pruning.weight_masks import masked_weights

log = logging.getLogger(__name__)

# What is recorded of every step: densities are shares of open gates, `open_share` that
# of all edges.
CURVES = (
    *("loss", "faithfulness", "completeness", "kl"),
    *("weight_density", "open_share"),
)


@dataclass(frozen=True)
class Phase:
    """Steps in which masks of some kinds are learned, the others fixed."""

    kinds: tuple[str, ...]
    steps: int


def phases(settings: DiscoGP) -> tuple[Phase, ...]:
    """Return which masks are learned in which steps."""
    weights = Phase((WEIGHT,), settings.weight_steps)
    edges = Phase((EDGE,), settings.edge_steps)
    if settings.masks != BOTH:
        return (weights if settings.masks == WEIGHTS else edges,)
    if settings.order == WEIGHTS_FIRST:
        return weights, edges
    return (Phase((WEIGHT, EDGE), settings.weight_steps),)


class Training:
    """Masks that are trained on batches of pairs, and curves so far."""

    def __init__(
        self,
        circuits: JointCircuits,
        weights: Mapping[str, Tensor],
        gated: Tensor,
        settings: DiscoGP,
        seed: int,
    ):
        """Prepare the training.

        Args:
            circuits: runs circuits on the batches.
            weights: those that have a mask, by name; none for masks of edges alone.
            gated: which edges have a mask, bool `(n_edges,)`; the others stay. None
                has one for masks of weights alone.
            settings: how to train.
            seed: of the start, the order of batches and the gates that are drawn.
        """
        self.circuits, self.weights, self.gated = circuits, weights, gated
        self.settings, self.seed = settings, seed
        shapes: dict[str, dict] = {}
        if weights:
            shapes[WEIGHT] = {name: each.shape for name, each in weights.items()}
        if gated.any():
            shapes[EDGE] = {EDGE: (int(gated.sum()),)}
        self.gates = Gates(shapes, settings, seed, gated.device)
        self.phases = phases(settings)
        self.steps = sum(phase.steps for phase in self.phases)
        self._curves: dict[str, list[float]] = defaultdict(list)
        self._optimiser: torch.optim.Optimizer | None = None

    @property
    def done(self) -> int:
        """The number of steps taken."""
        return len(self._curves["loss"])

    def train(self, resume: Resume) -> None:
        """Take the remaining steps.

        Raises:
            ValueError: a loss is not a number.
        """
        state = resume.restore(f"discogp/seed-{self.seed}", self._state)
        if state is not None:
            self._restore(state)
        first = 0
        for phase in self.phases:
            after = first + phase.steps
            if self.done < after:
                self._train_phase(phase, first, state, resume)
            first = after

    def curves(self) -> dict[str, np.ndarray]:
        """Return what was recorded of every step, float32 `(1, steps)` by name."""
        return {name: np.float32([self._curves[name]]) for name in CURVES}

    def _train_phase(
        self, phase: Phase, first: int, state: State | None, resume: Resume
    ) -> None:
        self._optimiser = torch.optim.AdamW(
            [
                {
                    "params": self.gates.parameters(kind),
                    "lr": getattr(self.settings, f"{kind}_learning_rate"),
                }
                for kind in phase.kinds
            ],
            weight_decay=self.settings.weight_decay,
        )
        if state is not None and self.done > first:
            set_optimiser_(self._optimiser, state.tensors)
        order = batch_order(len(self.circuits), self.seed)
        left = islice(order, self.done, first + phase.steps)
        with activity(self._place):
            done = self.done - first
            for index in progress(left, phase.steps, "step", done=done):
                self._step(index, phase, first)
                resume.save()

    def _step(self, index: int, phase: Phase, first: int) -> None:
        drawn = self.gates.drawn(phase.kinds, self.done)
        gates = {
            kind: {name: each.detach().requires_grad_() for name, each in named.items()}
            for kind, named in drawn.items()
        }
        fixed = {kind: self.gates.hard(kind) for kind in self._fixed(phase)}
        losses = self._losses(index, gates | fixed)
        self._optimiser.zero_grad()
        pairs = [
            (each, gates[kind][name].grad)
            for kind, named in drawn.items()
            for name, each in named.items()
        ]
        # A complement without weight, or a circuit without weights, has no gradient.
        pairs = [pair for pair in pairs if pair[1] is not None]
        torch.autograd.backward(*map(list, zip(*pairs, strict=True)))
        density = self._density_loss(phase, (self.done - first) / phase.steps)
        density.backward()
        losses["loss"] += float(density.detach())
        self._check(losses["loss"])
        self._optimiser.step()
        self._record(losses)

    def _losses(self, index: int, gates: Mapping[str, Mapping]) -> dict[str, float]:
        """Run both sides with their backward passes; return the losses."""
        joint, settings = self.circuits[index], self.settings
        batch, prepared = joint.batch, joint.prepared
        logits = joint.logits(*self.side(gates))
        divergence = answer_divergence(prepared.full, logits).mean()
        faithfulness = divergence
        if settings.faithfulness == ANSWER:
            faithfulness = right_answer_loss(batch, logits)
        faithfulness.backward()
        found = {"faithfulness": faithfulness.item(), "kl": divergence.item()}
        if not settings.completeness:
            return found | {"completeness": np.nan, "loss": found["faithfulness"]}
        logits = joint.logits(*self.side(gates, complement=True))
        if settings.ablation == ZERO or settings.masks == WEIGHTS:
            completeness = uniform_loss(batch, logits)
        else:
            # Without any edge the model answers the corrupted prompts, not at chance.
            completeness = same_answers_loss(batch, logits, prepared.empty)
        (settings.completeness * completeness).backward()
        found["completeness"] = completeness.item()
        total = found["faithfulness"] + settings.completeness * found["completeness"]
        return found | {"loss": total}

    def side(
        self, gates: Mapping[str, Mapping[str, Tensor]], *, complement: bool = False
    ) -> tuple[Tensor | None, dict[str, Tensor] | None]:
        """Return shares of all edges and masked weights, None where there is no mask.

        Args:
            gates: by kind and name.
            complement: whether to return what the gates leave out instead.
        """
        edges = weights = None
        if EDGE in gates:
            own = gates[EDGE][EDGE].float()
            edges = torch.ones_like(self.gated, dtype=torch.float32)
            edges = edges.masked_scatter(self.gated, 1 - own if complement else own)
        if WEIGHT in gates:
            masks = gates[WEIGHT]
            if complement:
                masks = {name: 1 - each.float() for name, each in masks.items()}
            weights = masked_weights(self.weights, masks)
        return edges, weights

    def _fixed(self, phase: Phase) -> tuple[str, ...]:
        """Return the kinds that an earlier phase has learned."""
        earlier = self.phases[: self.phases.index(phase)]
        return tuple(kind for each in earlier for kind in each.kinds)

    def _density_loss(self, phase: Phase, done: float) -> Tensor:
        return sum(
            self.settings.density_weight(kind, done) * self.gates.mean(kind)
            for kind in phase.kinds
        )

    def _record(self, losses: Mapping[str, float]) -> None:
        shares = {"weight_density": 1.0, "open_share": 1.0}
        for kind, name in ((WEIGHT, "weight_density"), (EDGE, "open_share")):
            if kind in self.gates.logits:
                shares[name] = self.open_share(kind)
        for name, value in {**losses, **shares}.items():
            self._curves[name].append(value)

    def open_share(self, kind: str) -> float:
        """Return the share of open gates, of edges with those that have none."""
        hard = self.gates.hard(kind).values()
        count = sum(int(each.count_nonzero()) for each in hard)
        total = sum(each.numel() for each in hard)
        free = int((~self.gated).sum()) if kind == EDGE else 0
        return (count + free) / (total + free)

    def _check(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise ValueError(
                f"discogp: the loss is {loss} in step {self.done + 1} of {self.steps}; "
                "use a smaller "
                "pruning.discogp.weight_learning_rate and edge_learning_rate, or load "
                "the model in float32 (dtype of the model)"
            )

    def _place(self) -> str:
        if not self.done:
            return "discogp"
        last = {name: values[-1] for name, values in self._curves.items()}
        return (
            f"weights {last['weight_density']:.1%}, edges {last['open_share']:.1%}, "
            f"divergence {last['kl']:.3g}"
        )

    def _state(self) -> State:
        """Return everything that the next step depends on, and the curves."""
        tensors = {f"logits/{name}": each for name, each in self.gates.named()}
        if self._optimiser is not None:
            tensors |= optimiser_tensors(self._optimiser)
        curves = {
            f"curve/{name}": torch.tensor(self._curves[name], dtype=torch.float64)
            for name in CURVES
        }
        return State(tensors | curves, {})

    def _restore(self, state: State) -> None:
        with torch.no_grad():
            for name, each in self.gates.named():
                each.copy_(state.tensors[f"logits/{name}"])
        for name in CURVES:
            self._curves[name] = state.tensors[f"curve/{name}"].tolist()
        log.info("discogp: resumed after %d of %d steps", self.done, self.steps)
