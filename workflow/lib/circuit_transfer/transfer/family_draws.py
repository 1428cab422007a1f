"""Training sets of fewer families: how much does an alignment learn from each?"""

from collections.abc import Sequence

from circuit_transfer.statistics import generator
from circuit_transfer.transfer.training_sets import (
    Families,
    study_families,
    training_tasks,
)

ALL = "all"


def drawn_tasks(
    training_set: str,
    tasks: Sequence[str],
    families: Families,
    n_families: int | str,
    *,
    seed: int,
) -> list[str]:
    """Return the tasks of a training set that are of some drawn families only.

    The families are the first of one random order of those in the training set, which
    depends on its name and the seed alone. So a smaller draw is part of a larger one.

    Args:
        training_set: see `training_sets.training_sets`.
        tasks: of the study, in its order, which the drawn ones keep.
        families: of the tasks.
        n_families: how many families are drawn, or `all`.
        seed: of the draw.

    Raises:
        ValueError: the training set has fewer families, or is not one of the study's.
    """
    known = training_tasks(training_set, tasks, families)
    if n_families == ALL:
        return known
    members = study_families(known, families)
    if n_families > len(members):
        raise ValueError(
            f"{n_families} families drawn of training set {training_set!r}, which has "
            f"{len(members)}"
        )
    # By name, so that the order of the tasks in a study changes nothing.
    names = sorted(members)
    order = generator("training-families", training_set, seed).permutation(len(names))
    drawn = [names[place] for place in order[:n_families]]
    return [task for task in known if any(task in members[each] for each in drawn)]
