"""The table of ways to match heads: what each one needs, and its settings.

A new way is a row of `MATCHINGS` and a function in `distances`. Nothing that runs a
model is imported, so that a configuration is checked without loading torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from circuit_transfer.messages import quoted

ONE_TO_ONE, MANY_TO_ONE = "one-to-one", "many-to-one"
ASSIGNMENTS = (ONE_TO_ONE, MANY_TO_ONE)
STUDENT, TEACHER, OWN = "student", "teacher", "own"
RAW, MAXIMUM = "raw", "max"
CORRELATION, RANK = "correlation", "rank"
CHOICES = {
    "baseline": (STUDENT, OWN),
    "scale": (RAW, MAXIMUM),
    "profile": (CORRELATION, RANK),
}


@dataclass(frozen=True)
class Matching:
    """A way to match heads: a row of `MATCHINGS`.

    Attributes:
        name: as configurations have it.
        label: what its distance is, in plain words.
        needs: attributes of both `distances.Heads` that it takes.
        aligned: whether it takes the weights of an alignment.
    """

    name: str
    label: str
    needs: tuple[str, ...] = ()
    aligned: bool = False


MATCHINGS = {
    row.name: row
    for row in (
        Matching(
            "impact",
            "difference of the effects of ablating the heads",
            ("base", "ablated"),
        ),
        Matching("cka", "1 minus debiased CKA of activations", ("activations",)),
        Matching("profile", "difference of scores over tasks", ("profile",)),
        Matching("dfa", "1 minus relative weight in an alignment", aligned=True),
        Matching("depth", "difference of relative depth", ("layers",)),
        Matching("random", "random numbers, a control"),
    )
}


@dataclass(frozen=True)
class MatchSettings:
    """Which variant of a distance is taken.

    Attributes:
        baseline: of `impact`: whose metric the teacher's effects are drops from, the
            `student`'s as the paper prints it, or its `own`.
        scale: of `impact`: effects as they are (`raw`), or divided by the largest size
            of an effect in each model (`max`).
        profile: of `profile`: distance by `correlation` or by `rank`.
        seed: of `random`.
    """

    baseline: str = STUDENT
    scale: str = RAW
    profile: str = CORRELATION
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            ValueError: one is unknown.
        """
        for name, known in CHOICES.items():
            check_choice(name, getattr(self, name), known)


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Check that a setting has one of the values that it may have.

    Args:
        name: of the setting.
        value: its value.
        known: those that it may have.

    Raises:
        ValueError: it is another one.
    """
    if value not in known:
        raise ValueError(
            f"{name} {quoted(repr(value))}: expected one of {', '.join(known)}"
        )
