"""Distances between the heads of two models, by which they are matched.

The functions of the rows of `matchings.MATCHINGS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from circuit_transfer.distillation.cka import cka
from circuit_transfer.distillation.matchings import (
    MATCHINGS,
    MAXIMUM,
    RANK,
    STUDENT,
    TEACHER,
    MatchSettings,
    check_choice,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.nodes import node_layers
from circuit_transfer.statistics import generator

# With two tasks, every correlation is 1 or -1.
LEAST_TASKS = 3


@dataclass(frozen=True)
class Heads:
    """What is known of the heads of one model; each matching needs some of it.

    Attributes:
        names: of the heads.
        layers: how many layers the model has.
        base: the metric of the model as it is, see `head_effects.head_effects`.
        ablated: that without each head, `(heads,)`.
        activations: see `activations.head_features`, `(heads, samples, d_head)`; on the
            same samples as those of the other model.
        profile: scores of the heads on several tasks, `(heads, tasks)`; on the same
            tasks as those of the other model.
    """

    names: Sequence[str]
    layers: int | None = None
    base: float | None = None
    ablated: np.ndarray | None = None
    activations: Tensor | None = None
    profile: np.ndarray | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models whose heads are matched.

    Attributes:
        student: its heads.
        teacher: its heads.
        weights: of a learned alignment between them, `(student heads, teacher heads)`,
            see `matching.alignment_weights`.
        settings: which variant of a distance is taken.
    """

    student: Heads
    teacher: Heads
    weights: np.ndarray | None = None
    settings: MatchSettings = field(default_factory=MatchSettings)


def head_distances(method: str, both: Comparison) -> np.ndarray:
    """Return the distances of all heads, float64 `(student heads, teacher heads)`.

    Args:
        method: one of `matchings.MATCHINGS`.
        both: what is known of the heads.

    Raises:
        ValueError: there is no such matching, or something that it needs is not known.
    """
    check_choice("matching", method, tuple(MATCHINGS))
    row = MATCHINGS[method]
    for side in (STUDENT, TEACHER):
        for name in row.needs:
            if getattr(getattr(both, side), name) is None:
                raise ValueError(f"matching {method} needs `{name}` of the {side}")
    if row.aligned and both.weights is None:
        raise ValueError(f"matching {method} needs the weights of an alignment")
    distances = np.asarray(DISTANCES[method](both), float)
    expected = (len(both.student.names), len(both.teacher.names))
    if distances.shape != expected:
        raise ValueError(
            f"matching {method}: distances {distances.shape} of {expected[0]} heads of "
            f"the student and {expected[1]} of the teacher; expected one of every two"
        )
    if not np.isfinite(distances).all():
        raise ValueError(
            f"matching {method}: some distances are not finite, so what they are made "
            "from is not known for some heads"
        )
    return distances


def impact_distance(both: Comparison) -> np.ndarray:
    """Return how much the effects of ablating two heads differ, `|dP_s - dP_t|`."""
    student, teacher, how = both.student, both.teacher, both.settings
    base = student.base if how.baseline == STUDENT else teacher.base
    drops = [
        start - np.asarray(heads.ablated, float)
        for start, heads in ((student.base, student), (base, teacher))
    ]
    if how.scale == MAXIMUM:
        # A model in which no head has an effect stays as it is.
        drops = [each / (np.abs(each).max(initial=0.0) or 1.0) for each in drops]
    return np.abs(drops[0][:, None] - drops[1])


def cka_distance(both: Comparison) -> np.ndarray:
    """Return `1 - CKA` of the activations, debiased: at 1 they share nothing."""
    others = both.teacher.activations
    rows = progress(both.student.activations, len(both.student.names), "matching head")
    with torch.no_grad():
        found = [1 - cka(own[None].to(others), others) for own in rows]
    return torch.stack(found).double().cpu().numpy()


def profile_distance(both: Comparison) -> np.ndarray:
    """Return how much the scores of two heads on several tasks differ.

    By `correlation`: 1 minus that over tasks, of scores that are standardised over the
    heads of each model, task by task; 1 for a head whose scores do not vary. By `rank`:
    the mean over tasks of the difference of the heads' ranks, as shares of their model.
    """
    profiles = [np.asarray(x.profile, float) for x in (both.student, both.teacher)]
    tasks = [each.shape[1] for each in profiles]
    if tasks[0] != tasks[1]:
        raise ValueError(
            f"profiles over {tasks[0]} and {tasks[1]} tasks: expected the same tasks"
        )
    if both.settings.profile == RANK:
        ranks = [(rankdata(x, axis=0) - 0.5) / len(x) for x in profiles]
        return np.abs(ranks[0][:, None] - ranks[1]).mean(2)
    if tasks[0] < LEAST_TASKS:
        raise ValueError(
            f"profiles over {tasks[0]} tasks have no correlation that says anything: "
            f"expected at least {LEAST_TASKS}, or the distance by {RANK}"
        )
    # Of what is standardised over tasks, the mean product is the correlation.
    student, teacher = (_standardised(_standardised(x, 0), 1) for x in profiles)
    return 1 - student @ teacher.T / tasks[0]


def dfa_distance(both: Comparison) -> np.ndarray:
    """Return 1 minus the weights of an alignment, relative to the head's largest one.

    The student's head is a row or a column of the alignment. Without any weight its
    distance from all heads is 1; a negative weight, by which the scores oppose each
    other, is farther than none.
    """
    weights = np.asarray(both.weights, float)
    largest = np.abs(weights).max(1, keepdims=True, initial=0.0)
    return 1 - weights / np.where(largest == 0, 1.0, largest)


def depth_distance(both: Comparison) -> np.ndarray:
    """Return how far two heads' layers are from each other, as shares of all layers."""
    student, teacher = (
        np.array(node_layers(heads.names)) / max(heads.layers - 1, 1)
        for heads in (both.student, both.teacher)
    )
    return np.abs(student[:, None] - teacher)


def random_distance(both: Comparison) -> np.ndarray:
    """Return random distances, by which every matching has the same probability."""
    shape = (len(both.student.names), len(both.teacher.names))
    return generator("matching", both.settings.seed).random(shape)


DISTANCES: dict[str, Callable[[Comparison], np.ndarray]] = {
    "impact": impact_distance,
    "cka": cka_distance,
    "profile": profile_distance,
    "dfa": dfa_distance,
    "depth": depth_distance,
    "random": random_distance,
}


def _standardised(values: np.ndarray, axis: int) -> np.ndarray:
    """Return values of mean 0 and standard deviation 1, or 0 where they do not vary."""
    centred = values - values.mean(axis, keepdims=True)
    spread = values.std(axis, keepdims=True)
    rounding = 1e-12 * np.abs(values).max(axis, keepdims=True, initial=0.0)
    varies = spread > rounding
    return np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)
