"""Train an embedded model until it knows its tasks.

The learning rate is held until the lookup tasks are learned (they appear suddenly, and
never while it falls), then it falls to almost nothing (arithmetic is learned mostly
there). Training is a pure function of its settings and the words: interrupted and
resumed, it ends with the same weights.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuit_transfer.embedded.curriculum import LEVELS, Curriculum, Texts
from circuit_transfer.embedded.model import TrainingSettings, build_model
from circuit_transfer.embedded.objective import accuracy, training_loss
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import Words
from circuit_transfer.jobs.resume import (
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOGS = 5
# The part of the learning rate that is left when the decay ends.
FLOOR = 0.02
# What a cycle after the first one has of the learning rate and of the decay's steps.
CYCLE_PEAK = 1 / 4
CYCLE_PART = 1 / 8


@dataclass
class Progress:
    """How far a training has come."""

    level: int
    step: int = 0
    decay_start: int | None = None
    cycle: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


class Training:
    """One training run: made, or taken up where it was interrupted, then advanced."""

    def __init__(
        self,
        settings: TrainingSettings,
        words: Words,
        resume: Resume = NO_RESUME,
    ) -> None:
        """Make the model, or take up what an interrupted run has left."""
        self.settings = settings
        self.tokenizer = build_tokenizer(
            words, architecture=settings.architecture, generators=settings.generators
        )
        self.model = build_model(settings, self.tokenizer)
        self.curriculum = Curriculum(
            words, self.tokenizer, settings.generators, settings.seed
        )
        # No weight decay: with it, lookup and sums are learned later, and no better.
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.progress = Progress(level=self.curriculum.first_level)
        self.identity = {
            "settings": asdict(settings) | {"generators": list(settings.generators)},
            "words": sha256(repr(words).encode()).hexdigest(),
        }
        self._resume = resume
        resume.expect(**self.identity)
        state = resume.restore("training", self._state)
        if state is not None:
            self._load_state(state)

    @property
    def finished(self) -> bool:
        """Whether the decay of this cycle has ended."""
        start = self.progress.decay_start
        return start is not None and self.progress.step >= start + self._decay_steps

    @property
    def _decay_steps(self) -> int:
        steps = self.settings.decay_steps
        return max(1, int(steps * CYCLE_PART)) if self.progress.cycle else steps

    def advance(self) -> None:
        """Train up to the next probe, look what has been learned, keep it."""
        start = last_log = time.monotonic()
        tokens = 0
        self.model.train()
        while not self.finished:
            batch = self.curriculum.batch(
                self.progress.step, self.progress.level, self.settings.batch_size
            )
            loss = self._step(batch)
            self.progress.step += 1
            tokens += int(batch.mask.sum())
            now = time.monotonic()
            if now - last_log > SECONDS_BETWEEN_LOGS:
                last_log = now
                self._log_step(loss, tokens / (now - start))
            if self.progress.step % self.settings.probe_every == 0:
                break
        self._look()
        self.progress.seconds += time.monotonic() - start
        self._resume.save()

    def start_cycle(self) -> bool:
        """Let the learning rate rise a little and fall again, if the budget allows it.

        For a model that has learned nearly enough.
        """
        self.progress.cycle += 1
        self.progress.decay_start = self.progress.step
        if self.progress.step + self._decay_steps > self.settings.max_steps:
            return False
        log.info("cycle %d: the learning rate rises and falls", self.progress.cycle)
        return True

    def held_out_accuracies(self) -> dict[str, float]:
        """The part of right answers per task on prompts of the test split."""
        return {
            name: accuracy(self.model, texts)
            for name, texts in self.curriculum.held_out().items()
        }

    def _step(self, batch: Texts) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        loss = training_loss(self.model, batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def _learning_rate(self) -> float:
        step, start = self.progress.step, self.progress.decay_start
        peak = self.settings.learning_rate
        # The optimizer's moments are those of small steps when a cycle starts: it must
        # rise slowly, and not as high as before.
        risen = step
        if self.progress.cycle:
            peak, risen = peak * CYCLE_PEAK, step - start
        factor = min(1.0, (risen + 1) / max(1, self.settings.warmup_steps))
        if start is not None:
            factor *= 1 - (1 - FLOOR) * (step - start) / self._decay_steps
        return peak * factor

    def _look(self) -> None:
        """Probe, and go to the next level or into the decay when it is time."""
        progress = self.progress
        accuracies = {
            name: accuracy(self.model, texts)
            for name, texts in self.curriculum.probes(progress.level).items()
        }
        progress.history.append({"step": progress.step, **accuracies})
        log.info(
            "step %d, level %d: %s", progress.step, progress.level, _listed(accuracies)
        )
        if progress.decay_start is not None:
            return
        passed = self.curriculum.passes(progress.level, accuracies)
        if passed and progress.level < len(LEVELS) - 1:
            progress.level += 1
            log.info(
                "lookup tasks have up to %d options now", LEVELS[progress.level][-1]
            )
        elif passed or self._latest_decay():
            progress.decay_start = progress.step
            log.info("the learning rate falls from here on")

    def _latest_decay(self) -> bool:
        """Whether a decay that starts one probe later would go beyond the budget."""
        left = self.settings.max_steps - self.progress.step
        return left < self.settings.decay_steps + self.settings.probe_every

    def _log_step(self, loss: float, speed: float) -> None:
        log.info(
            "step %d, loss %.3f, learning rate %.2g, %.0f tokens/s",
            self.progress.step,
            loss,
            self._learning_rate(),
            speed,
        )

    def _state(self) -> State:
        weights = self.model.state_dict().items()
        tensors = {f"model/{name}": value for name, value in weights}
        tensors |= optimiser_tensors(self.optimizer)
        return State(tensors, asdict(self.progress))

    def _load_state(self, state: State) -> None:
        self.model.load_state_dict(
            {
                name.removeprefix("model/"): value
                for name, value in state.tensors.items()
                if name.startswith("model/")
            }
        )
        set_optimiser_(self.optimizer, state.tensors)
        self.progress = Progress(**state.notes)
        log.info("training: step %d", self.progress.step)


def train(
    settings: TrainingSettings, words: Words, resume: Resume = NO_RESUME
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict]:
    """Train a model and return it with its tokenizer and a record of the training.

    Args:
        settings: What to train and how.
        words: What the generators draw from.
        resume: Keeps the state, from which a new call goes on.

    Raises:
        ValueError: The accuracy of a task on its test split is below what is required
            when the step budget has ended.
    """
    training = Training(settings, words, resume)
    while True:
        while not training.finished:
            training.advance()
        accuracies = training.held_out_accuracies()
        log.info("test split: %s", _listed(accuracies))
        if min(accuracies.values()) >= settings.required_accuracy:
            break
        # Should this have been the last cycle, whoever tries again is told at once.
        resume.save(now=True)
        if not training.start_cycle():
            raise ValueError(
                f"after {training.progress.step} steps not every task reaches an "
                f"accuracy of {settings.required_accuracy} on its test split: "
                f"{_listed(accuracies)}"
            )
    record = {
        "accuracy": accuracies,
        "steps": training.progress.step,
        "seconds": round(training.progress.seconds, 1),
        **training.identity,
        "history": training.progress.history,
    }
    return training.model, training.tokenizer, record


def _listed(accuracies: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
