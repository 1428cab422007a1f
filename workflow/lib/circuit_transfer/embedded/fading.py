"""Fade out what a pruned model will not have while it trains, then cut it off.

Cut off at once, models lost the tasks in which they look something up, and did not
learn them again soon. So what goes writes to the residual stream with a share that
falls from 1 to 0, and does not learn: it could grow as its share falls.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from circuit_transfer.embedded.curriculum import LEVELS, Curriculum
from circuit_transfer.embedded.learner import Learner
from circuit_transfer.embedded.model import TrainingSettings
from circuit_transfer.embedded.objective import Teacher, accuracies, listed
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.cutting import cut, kept_places, writing_parameters
from circuit_transfer.models.kept import Kept

log = logging.getLogger(__name__)

# What the whole model is assumed to know: its texts are those of the last level.
LEVEL = len(LEVELS) - 1


@dataclass(frozen=True)
class Faded:
    """A pruned model.

    Attributes:
        model: it, cut.
        kept: what it has of the whole one.
        record: `steps`, `seconds`, and the `history` of the accuracies of its probes.
    """

    model: PreTrainedModel
    kept: Kept
    record: dict[str, Any]


class _Gate:
    """Lets all that goes write to the residual stream with a share of its weights."""

    def __init__(self, model: PreTrainedModel, kept: Kept):
        writing = writing_parameters(model)
        # By parameter of which something goes: what is kept, and the original values.
        self._parts: dict[torch.nn.Parameter, tuple[Tensor, Tensor, bool]] = {}
        parameters = dict(model.named_parameters())
        for name, places in kept_places(model, kept).items():
            parameter = parameters[name]
            mask = torch.zeros_like(parameter, dtype=torch.bool)
            if places is not None:
                mask[torch.meshgrid(*places, indexing="ij")] = True
            if not mask.all():
                original = parameter.detach().clone()
                self._parts[parameter] = (mask, original, name in writing)

    @property
    def closes(self) -> bool:
        """Whether anything goes."""
        return bool(self._parts)

    @torch.no_grad()
    def set_(self, share: float) -> None:
        """Give all that goes a share of its weights that write."""
        for parameter, (mask, original, writes) in self._parts.items():
            gone = original * share if writes else original
            parameter.copy_(torch.where(mask, parameter, gone))

    def freeze(self) -> None:
        """Set the gradients of what goes to zero, so that it does not learn."""
        for parameter, (mask, _, _) in self._parts.items():
            parameter.grad.mul_(mask)


def fade_out(
    model: PreTrainedModel,
    choose: Callable[[], Kept],
    settings: TrainingSettings,
    curriculum: Curriculum,
    *,
    steps: int,
    teacher: Teacher | None = None,
    resume: Resume = NO_RESUME,
) -> Faded:
    """Train a model while all but the kept parts fade out, then cut it.

    At step s of n, counted from 0, what goes has the share 1 - s / n of its weights.
    With everything kept nothing is trained.

    Args:
        model: the whole model, which is changed.
        choose: returns what is kept; not called if a resumed run has chosen already.
        settings: batches and learning rate, which rises as in training and stays.
        curriculum: of the texts, all with as many options as they can have.
        steps: in which what goes is faded out.
        teacher: whose predictions are learned too.
        resume: saves the state, from which a later call resumes.
    """
    learner = Learner(model, teacher)
    notes: dict[str, Any] = {"step": 0, "seconds": 0.0, "history": []}
    state = resume.restore("fade", lambda: State(learner.tensors(), notes))
    if state is None:
        kept = choose()
        notes["kept"] = kept.noted()
    else:
        kept = Kept.read(state.notes["kept"])
    model.requires_grad_(True)
    # With the weights of the whole model, before they are those of an earlier run.
    gate = _Gate(model, kept)
    if state is not None:
        notes |= state.notes
        learner.load_(state.tensors)
        log.info("fading out resumes at step %d", notes["step"])
    steps = steps if gate.closes else 0
    while notes["step"] < steps:
        _advance(learner, gate, settings, curriculum, steps, notes)
        resume.save()
    gate.set_(0.0)
    record = {"steps": steps, "seconds": notes["seconds"], "history": notes["history"]}
    return Faded(cut(model, kept), kept, record)


def _advance(
    learner: Learner,
    gate: _Gate,
    settings: TrainingSettings,
    curriculum: Curriculum,
    steps: int,
    notes: dict[str, Any],
) -> None:
    """Train until the next probe."""
    start = time.monotonic()
    learner.model.train()
    while notes["step"] < steps:
        step = notes["step"]
        gate.set_(1 - step / steps)
        rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        batch = curriculum.batch(step, LEVEL, settings.batch_size)
        learner.step(batch, rise * settings.learning_rate, gate.freeze)
        notes["step"] += 1
        if notes["step"] % settings.probe_every == 0:
            break
    found = accuracies(learner.model, curriculum.probes(LEVEL))
    share = 1 - (notes["step"] - 1) / steps
    notes["history"].append({"step": notes["step"], **found})
    log.info(
        "step %d of %d, what goes has %.3f of its weights: %s",
        notes["step"],
        steps,
        share,
        listed(found),
    )
    notes["seconds"] += time.monotonic() - start
