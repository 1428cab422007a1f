"""Train an embedded model until it reaches the required accuracy on all tasks.

The learning rate is constant until the lookup tasks are learned (abruptly, and never
during the decay), then decays almost to zero (arithmetic is learned mostly during the
decay). Training is a pure function of its settings and the words: a run that is
interrupted and resumed ends with the same weights.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuit_transfer.embedded.curriculum import LEVELS, Curriculum, Texts
from circuit_transfer.embedded.learner import Learner
from circuit_transfer.embedded.model import TrainingSettings, build_model
from circuit_transfer.embedded.objective import Teacher, accuracies, listed
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import Words
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOGS = 5
# The share of the learning rate at the end of the decay.
FLOOR = 0.02
# Shares of the learning rate and of the decay steps in all cycles after the first.
CYCLE_PEAK = 1 / 4
CYCLE_PART = 1 / 8


@dataclass
class Progress:
    """The progress of a training run.

    Attributes:
        level: current level of the curriculum.
        step: number of steps done.
        decay_start: step at which the current decay started; None before the decay.
        cycle: number of the current cycle of the learning rate.
        seconds: training time, over all interrupted runs.
        history: accuracies of all probes.
    """

    level: int
    step: int = 0
    decay_start: int | None = None
    cycle: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """What a training begins with, and whom it learns from, if not from scratch.

    Attributes:
        model: instead of random weights.
        tokenizer: instead of one of the words that the generators can produce.
        teacher: whose predictions are learned too.
        settings: by which all of these came about, for the record.
        record: of what was done before, with `steps` and `seconds`.
    """

    model: PreTrainedModel | None = None
    tokenizer: PreTrainedTokenizerFast | None = None
    teacher: Teacher | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


SCRATCH = Start()


def identity_of(
    settings: TrainingSettings, words: Words, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides the result of a training, for its record and its state.

    Args:
        settings: architecture and hyperparameters.
        words: word lists of the generators.
        more: further settings, see `Start`.
    """
    own = asdict(settings) | {"generators": list(settings.generators)}
    return {
        "settings": {**own, **more},
        "words": sha256(repr(words).encode()).hexdigest(),
    }


class Training:
    """A training run, started or resumed after an interruption."""

    def __init__(
        self,
        settings: TrainingSettings,
        words: Words,
        resume: Resume = NO_RESUME,
        start: Start = SCRATCH,
    ) -> None:
        """Initialise the model, or restore the state of an interrupted run."""
        self.settings = settings
        self.tokenizer = start.tokenizer or build_tokenizer(
            words, architecture=settings.architecture, generators=settings.generators
        )
        self.model = start.model or build_model(settings, self.tokenizer)
        self.curriculum = Curriculum(
            words, self.tokenizer, settings.generators, settings.seed
        )
        self.progress = Progress(level=self.curriculum.first_level)
        self.identity = identity_of(settings, words, start.settings)
        self._learner = Learner(self.model, start.teacher)
        self._resume = resume
        resume.expect(**self.identity)
        state = resume.restore("training", self._state)
        if state is not None:
            self._load_state(state)

    @property
    def finished(self) -> bool:
        """Whether the decay of the current cycle has ended."""
        start = self.progress.decay_start
        return start is not None and self.progress.step >= start + self._decay_steps

    @property
    def _decay_steps(self) -> int:
        steps = self.settings.decay_steps
        return max(1, int(steps * CYCLE_PART)) if self.progress.cycle else steps

    def advance(self) -> None:
        """Train until the next probe, measure the accuracy, save the state."""
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
        self._probe()
        self.progress.seconds += time.monotonic() - start
        self._resume.save()

    def start_cycle(self) -> bool:
        """Start another, shorter cycle of the learning rate, within `max_steps`.

        For models whose accuracy is nearly sufficient.

        Returns:
            False if the remaining steps do not suffice.
        """
        self.progress.cycle += 1
        self.progress.decay_start = self.progress.step
        if self.progress.step + self._decay_steps > self.settings.max_steps:
            return False
        log.info("cycle %d of the learning rate starts", self.progress.cycle)
        return True

    def held_out_accuracies(self) -> dict[str, float]:
        """Return the accuracy on the test split by task."""
        return accuracies(self.model, self.curriculum.held_out())

    def _step(self, batch: Texts) -> float:
        return self._learner.step(batch, self._learning_rate())

    def _learning_rate(self) -> float:
        step, start = self.progress.step, self.progress.decay_start
        peak = self.settings.learning_rate
        # When a cycle starts, the optimiser's moments are those of small steps: warm up
        # again, to a lower peak.
        warmed_up = step
        if self.progress.cycle:
            peak, warmed_up = peak * CYCLE_PEAK, step - start
        factor = min(1.0, (warmed_up + 1) / max(1, self.settings.warmup_steps))
        if start is not None:
            factor *= 1 - (1 - FLOOR) * (step - start) / self._decay_steps
        return peak * factor

    def _probe(self) -> None:
        """Measure the accuracy; start the next level or the decay if it suffices."""
        progress = self.progress
        found = accuracies(self.model, self.curriculum.probes(progress.level))
        progress.history.append({"step": progress.step, **found})
        log.info("step %d, level %d: %s", progress.step, progress.level, listed(found))
        if progress.decay_start is not None:
            return
        passed = self.curriculum.passes(progress.level, found)
        if passed and progress.level < len(LEVELS) - 1:
            progress.level += 1
            log.info(
                "lookup tasks now have up to %d options", LEVELS[progress.level][-1]
            )
        elif passed or self._latest_decay():
            progress.decay_start = progress.step
            log.info("the decay of the learning rate starts")

    def _latest_decay(self) -> bool:
        """Return whether a decay from the next probe on would exceed `max_steps`."""
        remaining = self.settings.max_steps - self.progress.step
        return remaining < self.settings.decay_steps + self.settings.probe_every

    def _log_step(self, loss: float, speed: float) -> None:
        log.info(
            "step %d, loss %.3f, learning rate %.2g, %.0f tokens/s",
            self.progress.step,
            loss,
            self._learning_rate(),
            speed,
        )

    def _state(self) -> State:
        return State(self._learner.tensors(), asdict(self.progress))

    def _load_state(self, state: State) -> None:
        self._learner.load_(state.tensors)
        self.progress = Progress(**state.notes)
        log.info("training resumes at step %d", self.progress.step)


def train(
    settings: TrainingSettings,
    words: Words,
    resume: Resume = NO_RESUME,
    start: Start = SCRATCH,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict]:
    """Train a model and return it with its tokenizer and a record of the training.

    Args:
        settings: architecture and hyperparameters.
        words: word lists of the generators.
        resume: saves the state, from which a later call resumes.
        start: what the training begins with; by default random weights.

    Returns:
        The model, its tokenizer and a record with `accuracy` by task on the test
        split, `steps`, `seconds`, `settings`, a hash of the `words`, and `history`.

    Raises:
        ValueError: After `max_steps` the accuracy on the test split of a task is below
            `required_accuracy`.
    """
    training = Training(settings, words, resume, start)
    while True:
        while not training.finished:
            training.advance()
        found = training.held_out_accuracies()
        log.info("test split: %s", listed(found))
        if min(found.values()) >= settings.required_accuracy:
            break
        # If this was the last cycle, a repeated call fails immediately.
        resume.save(now=True)
        if not training.start_cycle():
            raise ValueError(
                f"after {training.progress.step} steps not every task reaches an "
                f"accuracy of {settings.required_accuracy} on its test split: "
                f"{listed(found)}"
            )
    record = {
        "accuracy": found,
        "steps": training.progress.step + start.record.get("steps", 0),
        "seconds": round(training.progress.seconds + start.record.get("seconds", 0), 1),
        **training.identity,
        "history": training.progress.history,
    }
    return training.model, training.tokenizer, record
