"""Train a student on a task, by any variant of distillation.

Every step takes one batch of clean prompts. Training is a pure function of its settings
and the seed: a run that is interrupted and resumed ends with the same weights.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.distillation.activations import check_positions
from circuit_transfer.distillation.loss import cka_loss, logit_loss, task_losses
from circuit_transfer.distillation.measures import Probe
from circuit_transfer.distillation.pairing import variant_pairs
from circuit_transfer.distillation.settings import DistillationSettings
from circuit_transfer.distillation.targets import Targets
from circuit_transfer.distillation.updates import Updates, head_masks, shared_readers
from circuit_transfer.distillation.variants import (
    CKA,
    EVERYTHING,
    LOGITS,
    SHUFFLED,
    TASK,
    Pair,
    variant_of,
)
from circuit_transfer.interventions import answer_logits, captured
from circuit_transfer.jobs.progress import activity, progress
from circuit_transfer.jobs.resume import (
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)
from circuit_transfer.models.nodes import is_mlp, node_names
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.training import batch_order

log = logging.getLogger(__name__)

# Batches of the same prompts, tokenized for the student and for the teacher.
Shared = Sequence[tuple[PairBatch, PairBatch]]
STEP_COLUMNS = {
    "step": pl.Int64,
    "loss": pl.Float64,
    "task_loss": pl.Float64,
    "cka": pl.Float64,
    "logit_loss": pl.Float64,
    "features": pl.Int64,
}
PROBE_COLUMNS = {
    "step": pl.Int64,
    "accuracy": pl.Float64,
    "right_above_wrong": pl.Float64,
    "task_loss": pl.Float64,
    "cka": pl.Float64,
}


@dataclass(frozen=True)
class Distilled:
    """How the training of a student went; the student itself was trained in place.

    Attributes:
        steps: of every step its number (from 1), the `loss`, the `task_loss`, whether
            or not it is part of the loss, the mean `cka` of the variant's own pairs,
            over how many `features`, and the `logit_loss`; null for what the variant
            does not have.
        probes: of some steps (0 before the first one) what was measured on held-out
            pairs, see `measures.ANSWERS`, and the mean debiased `cka` of the matched
            heads, whatever the variant compares.
        record: `variant`, `seed` and `settings`; `matched` pairs and the `pairs` that
            the variant worked with; the number of trained `parameters`, and the keys
            and values among them that are `shared` with heads that are not trained,
            see `updates.shared_readers`.
    """

    steps: pl.DataFrame
    probes: pl.DataFrame
    record: dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """What a student is trained on, towards what, and how.

    Attributes:
        student: a causal language model with frozen parameters, in float32 or float64;
            it is trained in place.
        teacher: another one, which stays as it is.
        batches: the pairs to train on, see `transfer.shared_prompts.shared_batches`;
            every epoch takes them in another order.
        held_out: those to measure on meanwhile.
        matched: names of the matched heads of student and teacher.
        settings: how to train.
    """

    student: nn.Module
    teacher: nn.Module
    batches: Shared
    held_out: Shared
    matched: Sequence[Pair]
    settings: DistillationSettings

    def __post_init__(self) -> None:
        """Check the pairs.

        Raises:
            ValueError: there are none, or as `activations.check_positions`.
        """
        if not self.batches or not self.held_out:
            raise ValueError("no pairs to train on, or none to measure on")
        for batches in (self.batches, self.held_out):
            check_positions(batches, self.settings.positions)


def distil(
    lesson: Lesson, *, variant: str, seed: int, resume: Resume = NO_RESUME
) -> Distilled:
    """Train a student in place.

    Args:
        lesson: the models, the pairs and the settings.
        variant: one of `variants.VARIANTS`.
        seed: of the order of batches, and of what the variant draws.
        resume: saves the training's progress, under the variant and the seed.

    Raises:
        ValueError: a loss is not a number; or as `pairing.variant_pairs` and
            `updates.Updates`; or the logits of models with different vocabularies would
            be compared.
    """
    training = Training(lesson, variant, seed)
    try:
        training.run(resume)
    finally:
        training.updates.freeze()
    return training.distilled()


class Training:
    """A student that is trained: its optimiser, its targets, and curves so far."""

    def __init__(self, lesson: Lesson, variant: str, seed: int):
        """Prepare the training; arguments as in `distil`."""
        self.lesson, self.settings, self.seed = lesson, lesson.settings, seed
        self.name, self.variant = variant, variant_of(variant)
        student, teacher = lesson.student, lesson.teacher
        self.pairs = variant_pairs(
            self.variant, lesson.matched, heads_of(student), heads_of(teacher), seed
        )
        if LOGITS in self.variant.terms:
            _check_vocabularies(student, teacher)
        self.targets = self._targets()
        self._probe = Probe(
            teacher, lesson.held_out, lesson.matched, self.settings.positions
        )
        self.updates = Updates(student, self._masks())
        self.optimiser = torch.optim.AdamW(
            self.updates.values.values(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        self._steps: list[dict] = []
        self._probes: list[dict] = []

    @property
    def done(self) -> int:
        """The number of steps taken."""
        return len(self._steps)

    @property
    def trained_heads(self) -> list[str]:
        """The heads whose parameters alone are trained; none if all are."""
        whole = self.variant.trains == EVERYTHING
        return [] if whole else [head for head, _ in self.pairs]

    def _masks(self) -> dict[str, Tensor] | None:
        heads, freeze = self.trained_heads, self.settings.freeze_kv
        if not heads:
            return None
        return head_masks(self.lesson.student, heads, freeze_kv=freeze)

    def _targets(self) -> Targets | None:
        if CKA not in self.variant.terms:
            return None
        return Targets(
            self.lesson.teacher,
            [other for _, other in self.lesson.batches],
            self.pairs,
            self.settings,
            shuffling=self.seed if self.variant.compares == SHUFFLED else None,
        )

    def run(self, resume: Resume) -> None:
        """Take the remaining steps.

        Raises:
            ValueError: a loss is not a number.
        """
        state = resume.restore(f"{self.name}/seed-{self.seed}", self.state)
        if state is not None:
            self.resume(state)
        else:
            self._start()
        steps, n_batches = self.settings.steps, len(self.lesson.batches)
        order = islice(batch_order(n_batches, self.seed), self.done, steps)
        with activity(self.status):
            for number in progress(order, steps, "step", done=self.done):
                self._step(number)
                if self.done % self.settings.probe_every == 0 or self.done == steps:
                    self._measure()
                resume.save()

    def _start(self) -> None:
        self._measure()
        if self.targets is not None:
            own = [batch for batch, _ in self.lesson.batches]
            self.targets.fill(self.lesson.student, own)

    def _step(self, number: int) -> None:
        losses, row = self.losses(number)
        loss = sum(losses[term] for term in self.variant.terms)
        row["loss"] = loss.item()
        self.optimiser.zero_grad()
        loss.backward()
        self.updates.take_gradients()
        values = self.updates.values.values()
        norm = nn.utils.clip_grad_norm_(values, self.settings.gradient_norm).item()
        self._check(row, norm)
        self.optimiser.step()
        self.updates.write()
        self._steps.append({name: row.get(name) for name in STEP_COLUMNS})

    def losses(self, number: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the terms of the loss of a batch, and a row of `STEP_COLUMNS`."""
        batch, other = self.lesson.batches[number]
        with captured(self.lesson.student) as sites:
            logits = answer_logits(self.lesson.student, batch.clean)
        losses = {TASK: task_losses(batch, logits).mean()}
        row = {"step": self.done + 1, "task_loss": losses[TASK].item()}
        if self.targets is not None:
            epoch = self.done // len(self.lesson.batches)
            found, rows = self.targets.similarities(sites, number, epoch)
            losses[CKA] = self.settings.cka_weight * cka_loss(found)
            row |= {"cka": found.mean().item(), "features": rows}
        if LOGITS in self.variant.terms:
            with torch.no_grad():
                theirs = answer_logits(self.lesson.teacher, other.clean)
            losses[LOGITS] = logit_loss(theirs, logits, self.settings.temperature)
            row["logit_loss"] = losses[LOGITS].item()
        return losses, row

    def _measure(self) -> None:
        self._probes.append({"step": self.done} | self._probe(self.lesson.student))

    def status(self) -> str:
        """Return how the training is going, in words."""
        if not self._probes:
            return self.name
        probe, step = self._probes[-1], (self._steps or [{}])[-1]
        parts = [
            f"{name.replace('_', ' ')} {step[name]:.3g}"
            for name in ("task_loss", "cka", "logit_loss")
            if step.get(name) is not None
        ]
        held_out = f"accuracy {probe['accuracy']:.3f} at step {probe['step']}"
        return f"{self.name}, {', '.join([*parts, held_out])}"

    def distilled(self) -> Distilled:
        """Return the curves and the record."""
        heads = self.trained_heads
        shared = shared_readers(self.lesson.student, heads)
        record = {
            "variant": self.name,
            "seed": self.seed,
            "settings": asdict(self.settings),
            "matched": [list(pair) for pair in self.lesson.matched],
            "pairs": [list(pair) for pair in self.pairs],
            "trained_heads": heads,
            "parameters": self.updates.count,
            "shared": {} if self.settings.freeze_kv else shared,
        }
        steps = pl.DataFrame(self._steps, STEP_COLUMNS)
        return Distilled(steps, pl.DataFrame(self._probes, PROBE_COLUMNS), record)

    def state(self) -> State:
        """Return everything that the next step depends on, and the curves."""
        tensors = {f"value/{name}": v for name, v in self.updates.values.items()}
        tensors |= optimiser_tensors(self.optimiser)
        if self.targets is not None:
            tensors |= self.targets.queue.tensors()
        return State(tensors, {"steps": self._steps, "probes": self._probes})

    @torch.no_grad()
    def resume(self, state: State) -> None:
        """Resume from a saved state."""
        for name, value in self.updates.values.items():
            value.copy_(state.tensors[f"value/{name}"])
        self.updates.write()
        set_optimiser_(self.optimiser, state.tensors)
        if self.targets is not None:
            device = self.lesson.student.device
            self.targets.queue.restore(state.tensors, device)
        self._steps, self._probes = state.notes["steps"], state.notes["probes"]
        log.info(
            "%s: resumed after %d of %d steps",
            self.name,
            self.done,
            self.settings.steps,
        )

    def _check(self, row: Mapping[str, Any], gradient_norm: float) -> None:
        if math.isfinite(row["loss"]) and math.isfinite(gradient_norm):
            return
        given = {name: each for name, each in row.items() if name.endswith("loss")}
        given |= {"cka": row.get("cka"), "gradient norm": gradient_norm}
        listed = ", ".join(f"{k} {v:.3g}" for k, v in given.items() if v is not None)
        raise ValueError(
            f"{self.name}: not a number in step {self.done + 1} of "
            f"{self.settings.steps} ({listed}); use a smaller "
            f"distillation.learning_rate ({self.settings.learning_rate:g}) or "
            f"distillation.cka_weight ({self.settings.cka_weight:g})"
        )


def heads_of(model: nn.Module) -> list[str]:
    """Return the names of all attention heads of a model, in order."""
    config = model.config
    nodes = node_names(config.num_hidden_layers, config.num_attention_heads)
    return [node for node in nodes if not is_mlp(node)]


def _check_vocabularies(student: nn.Module, teacher: nn.Module) -> None:
    own, other = student.config.vocab_size, teacher.config.vocab_size
    if own != other:
        raise ValueError(
            f"variant logits: the student has {own} tokens and the teacher {other}; "
            "expected models with the same tokenizer (leave out the variant)"
        )
