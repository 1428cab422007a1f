"""What the maps of a fit make of a task's source scores, completed where a map says so.

A correspondence of nodes leaves target nodes without a counterpart, and what two models
share may be no more than how a task differs from others. So what a map carries may be
filled up by what the target's own runs say of the task, or be the deviation from the
mean of the training tasks, added to the mean of the target's gold scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.levels import NODES, Fit, Level
from circuit_transfer.transfer.maps import FILLED, MAPS, MEAN_GOLD, transformed

# The transform of gold scores before they are averaged.
GOLD = "max"
Scores = Mapping[str, np.ndarray]


def filled(
    carried: np.ndarray, reached: np.ndarray, changes: np.ndarray | None
) -> np.ndarray:
    """Return carried scores, with changes where there is no counterpart.

    Both in the transform `max`, so that they are on one scale.

    Args:
        carried: scores that a map carries, `(n_target,)`.
        reached: which of the target's nodes or edges have a counterpart, likewise.
        changes: how much they change, likewise; unknown if None.
    """
    carried = transformed(carried, "max")
    if changes is None:
        return np.full_like(carried, np.nan)
    return np.where(reached, carried, transformed(changes, "max"))


@dataclass(frozen=True)
class Completed:
    """The maps of one fit, and what completes them for one task.

    Attributes:
        fit: the fitted maps.
        sources: source scores `(n_source,)` of every task of the study.
        gold: scores `(n_target,)` of every task on the target; those of the training
            tasks are used.
        changes: how much the target's nodes or edges change on the task, `(n_target,)`.
        level: of which the scores are.
    """

    fit: Fit
    sources: Scores
    gold: Scores
    changes: np.ndarray | None = None
    level: Level = NODES

    def vectors(self, name: str | None = None) -> dict[str, np.ndarray]:
        """Return the source scores of every task as a map sees them.

        In the transform of the fit, or for a map that adds to gold scores in theirs.

        Args:
            name: of the map; None for one that is no map of the fit.
        """
        by_gold = name is not None and MAPS[name].completed == MEAN_GOLD
        transform = GOLD if by_gold else self.fit.metadata["transform"]
        return {
            task: transformed(scores, transform)
            for task, scores in self.sources.items()
        }

    def constant(self, name: str | None = None) -> np.ndarray:
        """Return the constant that replaces the source's scores, as a map sees them."""
        vectors, tasks = self.vectors(name), self.fit.metadata["tasks"]
        if not tasks:
            return np.full_like(next(iter(vectors.values())), np.nan)
        seen = {each: vectors[each] for each in tasks}
        return next(iter(control_sources("source-free", seen, seed=0).values()))

    def training_gold(self) -> np.ndarray:
        """Return the gold scores of the training tasks, `(tasks, n_target)`."""
        tasks = self.fit.metadata["tasks"]
        return np.stack([transformed(self.gold[task], GOLD) for task in tasks])

    def mean_gold(self) -> np.ndarray:
        """Return the mean of the training tasks' gold scores, `(n_target,)`."""
        return self.training_gold().mean(0)

    def project(
        self, scores: np.ndarray, name: str, control: str = "none"
    ) -> np.ndarray:
        """Return the target's scores `(n_target,)` by a map and scores of a source.

        Args:
            scores: in the transform of the map, see `vectors`.
            name: of the map.
            control: in whose row the scores are; those that are trained have trained
                maps of their own.
        """
        form, tensor = MAPS[name], "none"
        if form.trained and control in self.level.trained:
            tensor = control
        if form.completed is None:
            return self.fit.project(scores, name, tensor)
        return self.through(self.fit.matrix(name), scores, name, control)

    def through(
        self, matrix: Any, scores: np.ndarray, name: str, control: str = "none"
    ) -> np.ndarray:
        """Return the target's scores by a matrix in place of that of a map.

        Args:
            matrix: `(n_source, n_target)`, or what maps scores as a matrix does.
            scores: as in `project`.
            name: as in `project`.
            control: as in `project`.
        """
        completed = MAPS[name].completed
        if completed == FILLED:
            reached = self.level.reached(matrix)
            return filled(scores @ matrix, reached, self.changes)
        if completed == MEAN_GOLD:
            return self._added_to_gold(matrix, scores, name, control)
        return scores @ matrix

    def _added_to_gold(
        self, matrix: Any, scores: np.ndarray, name: str, control: str
    ) -> np.ndarray:
        tasks, vectors = self.fit.metadata["tasks"], self.vectors(name)
        if not tasks:
            return scores @ matrix  # unknown
        if control == "source-free":  # a constant is its own mean
            return self.mean_gold()
        if reduce := self.level.reduced.get(control):
            vectors = {each: reduce(self.fit, vectors[each]) for each in tasks}
        return self.mean_gold() + (scores - _mean(vectors, tasks)) @ matrix


def _mean(vectors: Scores, tasks: Sequence[str]) -> np.ndarray:
    return np.stack([vectors[each] for each in tasks]).mean(0)
