"""Alignment maps: how the scores of a source model become scores of a target model.

Every map is a matrix `(n_source, n_target)`, and for some a bias `(n_target,)`, on
transformed source scores. `free` is the paper's: a matrix of which every entry is
learned (arXiv 2604.24302, Section 3). The others begin with what is known of a node
before any training: its type and depth, and what it represents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its `stats` only where it is used: every start of a run reads this file

from circuit_transfer.transfer.training_sets import leaves_out

# What a map knows of which target node a source node is like: type and depth, the
# similarity of outputs, what is recorded of how the models were made, or a matching by
# the similarity of changes. Of residual maps, the one that the configuration names.
DEPTH, CKA, LINEAGE, MATCHED = "depth", "cka", "lineage", "matched"
CHOSEN = "chosen"
# How the scores that a map carries are completed, see `completed_maps`.
FILLED, MEAN_GOLD = "filled", "mean-gold"


@dataclass(frozen=True)
class Map:
    """What a map is made of.

    Attributes:
        correspondence: of which its matrix is, or which its training begins with; None
            for a matrix of random numbers.
        trained: whether the matrix is learned.
        completed: how what it carries is completed: `filled`, where target nodes
            without a counterpart get what the target's own runs say, `mean-gold`,
            where it is added to the mean of gold scores, or None.
    """

    correspondence: str | None = None
    trained: bool = False
    completed: str | None = None

    def known_by(self, chosen: str) -> str | None:
        """Return its correspondence, where the configuration has chosen one."""
        return chosen if self.correspondence == CHOSEN else self.correspondence


MAPS = {
    "free": Map(trained=True),
    "depth-prior": Map(DEPTH),
    "cka-prior": Map(CKA),
    "prior-residual": Map(CHOSEN, trained=True),
    "lineage": Map(LINEAGE),
    "matched": Map(MATCHED),
    "lineage-filled": Map(LINEAGE, completed=FILLED),
    "matched-filled": Map(MATCHED, completed=FILLED),
    "mean-gold-lineage": Map(LINEAGE, completed=MEAN_GOLD),
    "mean-gold-matched": Map(MATCHED, completed=MEAN_GOLD),
    "mean-gold-residual": Map(CHOSEN, completed=MEAN_GOLD),
}
TRAINED_MAPS = tuple(name for name, each in MAPS.items() if each.trained)
# The correspondences for which both models run, and the part of a fit's costs they are.
COST_PARTS = {CKA: "similarity", MATCHED: "matching"}
# Compared with the maps, and computed for every task from runs of both models on its
# prompts (`stitching`): of scores, and of gradients, by methods whose gradients are of
# whole runs, so that the residual stream has them too.
STITCHED, CARRIED = "stitched", "carried-gradients"
# Before the name of a map of nodes that gives scores of edges, see `lifted`.
LIFTED = "lifted-"


def _largest(scores: np.ndarray) -> float:
    largest = np.abs(scores).max()
    return largest if largest > 0 else 1.0


def _share(scores: np.ndarray) -> np.ndarray:
    total = np.abs(scores).sum()
    return scores / (total if total > 0 else 1.0)


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda scores: _share(scores),
    "raw": lambda scores: scores,
    "max": lambda scores: scores / _largest(scores),
    "signed-sqrt": lambda scores: (
        np.sign(scores) * np.sqrt(np.abs(scores) / _largest(scores))
    ),
    "sqrt-sum": lambda scores: np.sign(scores) * _share(np.sqrt(np.abs(scores))),
    "rank": lambda scores: (scipy.stats.rankdata(scores) - 1) / max(len(scores) - 1, 1),
}


def transformed(scores: np.ndarray, transform: str) -> np.ndarray:
    """Return the scores `(n_nodes,)` as a map sees them, float32.

    `sum` divides by the sum of the magnitudes: one step of Adam then moves a projected
    score by at most the learning rate, however many nodes the source has. `max` divides
    by the largest magnitude; `signed-sqrt` then takes the root of the magnitudes, and
    `sqrt-sum` divides the roots by their sum, which suits edges, of which few have most
    of the magnitude; `rank` puts the ranks on a scale from 0 to 1, the highest score at
    1; `raw` leaves them. Unknown scores (NaN) stay unknown.

    Raises:
        ValueError: the transform is unknown.
    """
    if transform not in TRANSFORMS:
        known = ", ".join(TRANSFORMS)
        raise ValueError(f"transform {transform!r} is not one of {known}")
    if not np.isfinite(scores).all():
        return np.full_like(scores, np.nan, dtype=np.float32)
    return TRANSFORMS[transform](scores).astype(np.float32)


def needed_correspondences(maps: Sequence[str], chosen: str) -> set[str]:
    """Return which correspondences maps need.

    Args:
        maps: names of maps; those that are no rows of the table need none.
        chosen: the one that the configuration names, see `Map`.
    """
    found = {MAPS[name].known_by(chosen) for name in maps if name in MAPS}
    return found - {None}


def fitted_maps(training_set: str, main: str, compared: Sequence[str]) -> list[str]:
    """Return the maps that are fitted on a training set, the main one first.

    Those that it is compared with belong to the zero-shot sets, as the controls do;
    names that are no rows of the table are of what is made in another way.
    """
    others = [name for name in compared if name in MAPS and name != main]
    return [main, *(others if leaves_out(training_set) else [])]


def fits(maps: Sequence[str], controls: Sequence[str]) -> list[tuple[str, str]]:
    """Return every fit of a job: a map and `none`, or the control trained instead.

    An untrained map has no trained controls.
    """
    return [
        (name, control)
        for name in maps
        for control in ("none", *(controls if name in TRAINED_MAPS else ()))
    ]
