"""A computation that is measured, and its ideal cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A computation and what it should cost.

    Attributes:
        name: of the computation.
        run: does it once.
        forwards: passes without a backward pass that it ideally takes.
        forward_backwards: passes with one.
        limit: of its seconds over the ideal, if there is one.
        memory_limit: of its memory over that of a bare pass with its backward pass.
    """

    name: str
    run: Callable[[], Any]
    forwards: float
    forward_backwards: float = 0
    limit: float | None = None
    memory_limit: float | None = None
