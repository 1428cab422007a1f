"""Training sets: the tasks that an alignment learns from, and those it is used on.

Two zero-shot protocols: one task is left out, as in the paper (arXiv 2604.24302), or
its whole family. Tasks of a family share a circuit, so only under the second has the
alignment seen no similar task. A task that is a family by itself is left out by one
training set, `without-<task>`, which serves both protocols.
"""

from collections.abc import Mapping, Sequence

Families = Mapping[str, Sequence[str]]
# What is left out of training, and what evaluating on it is called.
PROTOCOLS = {"task": "zero-shot", "family": "zero-shot-family"}
# The same of a study in which every task is a family by itself.
ONE_PROTOCOL = {"task (its family)": "zero-shot(-family)"}


def study_families(tasks: Sequence[str], families: Families) -> dict[str, list[str]]:
    """Return the families of a study's tasks; a task of no family is one by itself.

    They come in the order of their first tasks; those without a task of the study are
    left out.
    """
    studied: dict[str, list[str]] = {}
    for task in tasks:
        studied.setdefault(family_of(task, families), []).append(task)
    return studied


def family_of(task: str, families: Families) -> str:
    """Return the family of a task: its own name where it belongs to none."""
    return next((name for name, each in families.items() if task in each), task)


def training_sets(tasks: Sequence[str], families: Families) -> list[str]:
    """Return the names of all training sets of a study.

    One task alone, all but one, all but one family of several tasks, all. Nothing is
    left out where nothing would be left.
    """
    studied = study_families(tasks, families)
    without = tasks if len(tasks) > 1 else []
    several = [family for family, members in studied.items() if len(members) > 1]
    without_family = several if len(studied) > 1 else []
    return [
        *(f"only-{task}" for task in tasks),
        *(f"without-{task}" for task in without),
        *(f"without-family-{family}" for family in without_family),
        "all",
    ]


def training_tasks(
    training_set: str, tasks: Sequence[str], families: Families
) -> list[str]:
    """Return the tasks of a training set, in the study's order.

    Raises:
        ValueError: the name is not one of `training_sets`.
    """
    if training_set not in training_sets(tasks, families):
        raise ValueError(f"training set {training_set!r} is not one of this study's")
    if training_set == "all":
        return list(tasks)
    kind, name = training_set.split("-", 1)
    if kind == "only":
        return [name]
    left_out = {name}
    # A task's name does not begin with `family-`: the configuration's check sees to it.
    if name.startswith("family-"):
        left_out = set(study_families(tasks, families)[name.removeprefix("family-")])
    return [task for task in tasks if task not in left_out]


def study_protocols(families: Families) -> dict[str, str]:
    """Return what a study leaves out, and what evaluating on it is called.

    Args:
        families: of the study's tasks, see `study_families`.
    """
    alone = all(len(members) == 1 for members in families.values())
    return ONE_PROTOCOL if alone else PROTOCOLS


def left_out_sets(task: str, families: Families) -> dict[str, str]:
    """Return the training set that leaves a task out, under every protocol.

    Args:
        task: the evaluated task.
        families: of the study's tasks, see `study_families`.
    """
    family = family_of(task, families)
    without = f"without-{task}"
    alone = len(families.get(family, [task])) == 1
    sets = {name: without for name in study_protocols(families)}
    return sets if alone else sets | {"family": f"without-family-{family}"}


def family_sets(tasks: Sequence[str], families: Families) -> list[str]:
    """Return the training sets that leave out a family, one for each of a study's."""
    studied = study_families(tasks, families)
    *_, protocol = study_protocols(studied)
    sets = [left_out_sets(each[0], studied)[protocol] for each in studied.values()]
    known = training_sets(tasks, families)
    return [name for name in sets if name in known]


def zero_shot_sets(task: str, tasks: Sequence[str], families: Families) -> list[str]:
    """Return the training sets that leave out a task or its family."""
    sets = left_out_sets(task, study_families(tasks, families)).values()
    known = training_sets(tasks, families)
    return [name for name in dict.fromkeys(sets) if name in known]


def evaluated_training_sets(
    task: str, tasks: Sequence[str], families: Families
) -> list[str]:
    """Return the training sets whose circuits are measured on a task.

    All but those that leave out other tasks or families.
    """
    zero_shot = zero_shot_sets(task, tasks, families)
    return [
        each
        for each in training_sets(tasks, families)
        if each in zero_shot or not leaves_out(each)
    ]


def leaves_out(training_set: str) -> bool:
    """Return whether a training set leaves out a task or a family."""
    return training_set.startswith("without-")
