"""How a circuit is distilled into a student: settings and their presets.

Nothing here needs torch, so that a configuration is checked without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from circuit_transfer.messages import quoted

DEBIASED, BIASED = "debiased", "biased"
ANSWER, ALL_POSITIONS = "answer", "all"
POSITIONS = (ANSWER, ALL_POSITIONS)
# Below, there is no CKA: the debiased estimator divides by zero.
LEAST_SAMPLES = {DEBIASED: 4, BIASED: 2}
# Below, the debiased CKA of a step is mostly noise: its standard deviation on
# independent features is .23 at 8 of them, and .01 at 128.
LEAST_FEATURES = 128
# Key of the configuration that chooses the values of those that are not given.
PRESET = "preset"


@dataclass(frozen=True)
class DistillationSettings:
    """How a student is trained (Wadhwa et al. 2025, arXiv 2509.25002).

    Attributes:
        steps: optimiser steps, of one batch each.
        batch_size: pairs in a batch.
        learning_rate: AdamW's.
        weight_decay: AdamW's, of what is trained.
        gradient_norm: the largest norm of the gradient; a larger one is scaled down.
        cka_weight: of the sum of `1 - CKA` over the pairs of heads (lambda).
        estimator: of CKA: `debiased`, or `biased` as in the paper.
        queue: how many features of former batches are compared together with those of
            the current one; 0 for the batch alone, as in the paper.
        positions: whose features: of the `answer`, or `all`.
        freeze_kv: whether keys and values stay as they are. Otherwise a key and a value
            that several heads share are trained if one of these heads is.
        temperature: at which the logits of teacher and student are compared.
        probe_every: steps between two measurements on held-out pairs.
    """

    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_norm: float = 1.0
    cka_weight: float = 0.1
    estimator: str = DEBIASED
    queue: int = 256
    positions: str = ANSWER
    freeze_kv: bool = False
    temperature: float = 2.0
    probe_every: int = 10

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: one is out of its range, or the queue is too short.
        """
        for name in POSITIVE:
            _check(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in NOT_NEGATIVE:
            _check(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        for name, known in CHOICES.items():
            value = getattr(self, name)
            _check(name, value, value in known, f"one of {', '.join(known)}")
        _check(
            "queue",
            self.queue,
            self.estimator == BIASED or self.queue >= LEAST_FEATURES,
            f"at least {LEAST_FEATURES} features for the debiased estimator (or "
            f"distillation.estimator: {BIASED})",
        )


POSITIVE = (
    *("steps", "batch_size", "learning_rate", "gradient_norm"),
    *("temperature", "probe_every"),
)
NOT_NEGATIVE = ("weight_decay", "cka_weight", "queue")
CHOICES = {"estimator": (DEBIASED, BIASED), "positions": POSITIONS}

PRESETS: dict[str, Mapping[str, Any]] = {
    "small": {},
    # The paper states the learning rate, and in a figure the number of steps.
    "paper": {
        "steps": 3500,
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "estimator": BIASED,
        "queue": 0,
        "probe_every": 100,
    },
}


def distillation_settings(section: Mapping[str, Any]) -> DistillationSettings:
    """Return the settings of a section of the configuration.

    Args:
        section: `preset`, and settings that replace the preset's where not None.

    Raises:
        ValueError: there is no such preset or setting, or a value is out of range.
    """
    given = {name: value for name, value in section.items() if value is not None}
    preset = given.pop(PRESET, "small")
    _check(PRESET, preset, preset in PRESETS, f"one of {', '.join(PRESETS)}")
    known = [field.name for field in fields(DistillationSettings)]
    for name in given:
        if name not in known:
            raise ValueError(
                f"distillation.{quoted(name)}: there is no such setting; expected one "
                f"of {', '.join([PRESET, *known])}"
            )
    return DistillationSettings(**{**PRESETS[preset], **given})


def _check(name: str, value: Any, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(
            f"distillation.{name} is {quoted(str(value))}: expected {expected}"
        )
