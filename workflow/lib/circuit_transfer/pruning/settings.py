"""How circuits are learned: the settings of every method, and their presets.

Nothing that runs a model is imported, so that planning a study does not load torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from circuit_transfer.messages import quoted

OBJECTIVES = ("kl", "logit-diff")
WARM_STARTS = ("none", "rank")
DRAWS = ("log-uniform", "area")
RAMPS = ("linear", "geometric")
EXACT, TRAINED = "exact", "trained"
MULTIPLIERS = (EXACT, TRAINED)
# Key of the configuration that chooses the values of those that are not given.
PRESET = "preset"


@dataclass(frozen=True)
class EdgePruning:
    """How gates are trained (Edge Pruning, arXiv 2406.16778).

    Attributes:
        steps: optimiser steps, of one batch each.
        learning_rate: AdamW's, of the gates' log alphas.
        multiplier: of the constraint on the share of open edges: `exact` or `trained`,
            see `constraints`.
        multiplier_rate: AdamW's, of trained multipliers.
        init: log alpha of every gate at the start.
        init_spread: its standard deviation there.
        warmup: share of the steps in which the target falls to the size.
        ramp: how it falls: `linear`, or `geometric`, by the same factor in every step.
        rate_warmup: share of the steps in which the learning rates rise; then they fall
            to zero.
        rate_cooldown: without such a rise the share of the steps, the last ones, in
            which the learning rates fall to a tenth.
        gradient_norm: the largest norm of the gradient of a circuit's gates; a larger
            gradient is scaled down. One draw in which an
            edge that all depends on is closed would move all gates at random else.
        weight_decay: AdamW's, of everything.
        node_gates: whether every head and MLP has a gate too, by which those of the
            edges that it writes are multiplied.
    """

    steps: int = 200
    learning_rate: float = 0.2
    multiplier: str = EXACT
    multiplier_rate: float = 1.0
    init: float = 2.0
    init_spread: float = 0.01
    warmup: float = 0.6
    ramp: str = "geometric"
    rate_warmup: float = 0.0
    rate_cooldown: float = 0.4
    gradient_norm: float = 1.0
    weight_decay: float = 0.0
    node_gates: bool = False


PAPER = {
    "steps": 3000,
    "learning_rate": 0.8,
    "multiplier_rate": 0.8,
    "init": 10.0,
    "init_spread": 0.01,
    "warmup": 2500 / 3000,
    "ramp": "linear",
    "multiplier": TRAINED,
    "rate_warmup": 200 / 3000,
    "rate_cooldown": 0.0,
    "weight_decay": 0.01,
    "warm_start": "none",
    "restore": 0.0,
}


@dataclass(frozen=True)
class Hap(EdgePruning):
    """How gates are trained on what a filter leaves (HAP, arXiv 2510.03282).

    Attributes:
        filter: the attribution method whose highest absolute scores are kept.
        keep: their share of all edges.
        warm_start: `rank`: the higher an edge ranks in the filter, the more open its
            gate is at the start; `none`: all gates start the same.
        restore: share of the edges of each circuit, its last ones, that are chosen
            after the training by the gradient of the loss, see `restoring`.
    """

    steps: int = 100
    filter: str = "eap-ig-inputs"
    keep: float = 0.2
    warm_start: str = "rank"
    restore: float = 0.0


@dataclass(frozen=True)
class SoftTopK:
    """How a ranking is trained by soft circuits of drawn sizes (arXiv 2609.25518).

    Attributes:
        steps: optimiser steps, of one batch each.
        learning_rate: AdamW's.
        draws: how many sizes are drawn in every step.
        drawn: how: in proportion to their weights in the `area` under a curve over the
            proportions, or `log-uniform` between the first and the last of these.
        proportions: shares of all edges, ascending.
        softness: of the boundary of circuits at the first step, in standard deviations
            of the scores. The wider, the more all edges are half open at first, which
            finds circuits that need all of their edges.
        init_spread: standard deviation of the scores at the start.
        rate_cooldown: see `EdgePruning`. Without it the last steps leave edges with
            small effects in a random order.
        gradient_norm: see `EdgePruning`.
        weight_decay: AdamW's.
    """

    steps: int = 400
    learning_rate: float = 0.1
    draws: int = 6
    drawn: str = "area"
    proportions: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    softness: float = 4.0
    init_spread: float = 0.01
    rate_cooldown: float = 0.4
    gradient_norm: float = 1.0
    weight_decay: float = 0.0


SETTINGS: dict[str, type] = {
    "edge-pruning": EdgePruning,
    "node-pruning": EdgePruning,
    "hap": Hap,
    "soft-top-k": SoftTopK,
    "node-soft-top-k": SoftTopK,
}
PRESETS: dict[str, Mapping[str, Any]] = {"small": {}, "paper": PAPER}
# What is one of a list of names, or in a range; a bound is excluded where it is open.
CHOICES = {
    "warm_start": WARM_STARTS,
    "drawn": DRAWS,
    "ramp": RAMPS,
    "multiplier": MULTIPLIERS,
}
POSITIVE = ("softness", "gradient_norm", "steps", "draws", "learning_rate", "keep")
NOT_NEGATIVE = ("multiplier_rate", "init_spread", "weight_decay", "restore")
SHARES = ("warmup", "rate_warmup", "rate_cooldown", "keep", "restore")


def method_settings(method: str, section: Mapping[str, Any]) -> Any:
    """Return the settings of a method from the section `pruning` of a configuration.

    A key that is absent or None has the value of the preset.

    Args:
        method: its name.
        section: the section, with the mapping of the method under its name.

    Raises:
        ValueError: a key or a value is not one that the method has.
    """
    given = dict(section.get(method) or {})
    preset = given.pop(PRESET, None) or "small"
    if preset not in PRESETS:
        raise ValueError(
            f"{_place(method, PRESET)} is {quoted(preset)}: expected one of "
            f"{', '.join(PRESETS)}"
        )
    kind = SETTINGS[method]
    names = [each.name for each in fields(kind)]
    unknown = set(given) - set(names)
    if unknown:
        raise ValueError(
            f"{_place(method, min(unknown))}: there is no such setting; expected one "
            f"of {', '.join([PRESET, *names])}"
        )
    values = {k: each for k, each in PRESETS[preset].items() if k in names}
    values |= {k: each for k, each in given.items() if each is not None}
    for name, value in values.items():
        _check(method, name, value)
    return kind(**values)


def learned_sizes(section: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the sizes that circuits are learned for, as shares of all edges.

    Raises:
        ValueError: there is none, or one is not between 0 and 1.
    """
    sizes = tuple(section["sizes"])
    if not sizes or not all(0 < size < 1 for size in sizes):
        raise ValueError(
            f"pruning.sizes are {quoted(list(sizes))}: expected one or more shares of "
            "all edges, above 0 and below 1"
        )
    return sizes


def objective_of(section: Mapping[str, Any]) -> str:
    """Return what is minimised, one of `OBJECTIVES`.

    Raises:
        ValueError: it is not one of these.
    """
    objective = section.get("objective") or OBJECTIVES[0]
    if objective not in OBJECTIVES:
        raise ValueError(
            f"pruning.objective is {quoted(objective)}: expected one of "
            f"{', '.join(OBJECTIVES)}"
        )
    return objective


def _check(method: str, name: str, value: Any) -> None:
    expected = None
    if name in CHOICES and value not in CHOICES[name]:
        expected = f"one of {', '.join(CHOICES[name])}"
    elif name in POSITIVE and not value > 0:
        expected = "a number above 0"
    elif name in NOT_NEGATIVE and not value >= 0:
        expected = "a number of at least 0"
    elif name in SHARES and not value <= 1:
        expected = "a share of at most 1"
    if expected:
        place = _place(method, name)
        raise ValueError(f"{place} is {quoted(value)}: expected {expected}")


def _place(method: str, name: str) -> str:
    return f"pruning.{method}.{name}"
