"""Match the heads of a student to heads of a teacher that do the same.

Those of least distance (see `distances`) are matched, each for itself (many to one, as
in Wadhwa et al. 2025, arXiv 2509.25002), or so that no head of the teacher is taken
twice (one to one).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from circuit_transfer.distillation.distances import Comparison, head_distances
from circuit_transfer.distillation.frames import MATCH_COLUMNS
from circuit_transfer.distillation.matchings import (
    ASSIGNMENTS,
    MANY_TO_ONE,
    ONE_TO_ONE,
    STUDENT,
    TEACHER,
    check_choice,
)
from circuit_transfer.messages import quoted


def match_heads(
    method: str,
    both: Comparison,
    *,
    assignment: str = ONE_TO_ONE,
    student_heads: Sequence[str] | None = None,
    teacher_heads: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Match heads of a student to heads of a teacher.

    Args:
        method: one of `matchings.MATCHINGS`.
        both: what is known of the heads.
        assignment: `one-to-one`, with the least sum of distances, or `many-to-one`,
            each with the nearest; of equal distances the first in order.
        student_heads: the heads to match, such as the critical ones, by default all.
            The others count in what a distance relates to a whole model.
        teacher_heads: the heads that they may be matched to, likewise.

    Returns:
        A row per head of the student, in the order given: `distance`, and `rank`, that
        of the teacher's head by distance from the student's (1 for the nearest; more
        where another head of the student has taken it).

    Raises:
        ValueError: there is no such matching, assignment or head, something that the
            distance needs is not known, or there are too few heads for `one-to-one`.
    """
    check_choice("assignment", assignment, ASSIGNMENTS)
    students = both.student.names if student_heads is None else student_heads
    teachers = both.teacher.names if teacher_heads is None else teacher_heads
    if assignment == ONE_TO_ONE and len(students) > len(teachers):
        raise ValueError(
            f"{len(students)} heads of the student, but {len(teachers)} of the teacher "
            f"to match one to one: expected at least as many (or {MANY_TO_ONE})"
        )
    rows = _places("student's heads", students, both.student.names)
    columns = _places("teacher's heads", teachers, both.teacher.names)
    distances = head_distances(method, both)[np.ix_(rows, columns)]
    is_single = assignment == ONE_TO_ONE
    chosen = linear_sum_assignment(distances)[1] if is_single else distances.argmin(1)
    taken = distances[np.arange(len(rows)), chosen]
    frame = {
        "student_head": list(students),
        "teacher_head": [teachers[each] for each in chosen],
        "distance": taken,
        "method": method,
        "rank": 1 + (distances < taken[:, None]).sum(1),
    }
    return pl.DataFrame(frame, MATCH_COLUMNS)


def alignment_weights(
    matrix: np.ndarray,
    source_nodes: Sequence[str],
    target_nodes: Sequence[str],
    student: Sequence[str],
    teacher: Sequence[str],
    *,
    source: str = TEACHER,
) -> np.ndarray:
    """Return the weights of a learned alignment, `(student heads, teacher heads)`.

    Args:
        matrix: `(n_source, n_target)`, see `artifacts.alignments.Alignment`.
        source_nodes: names of its rows.
        target_nodes: names of its columns.
        student: names of the student's heads.
        teacher: names of the teacher's heads.
        source: which of the two models it maps from, `teacher` or `student`.

    Raises:
        ValueError: it has no such nodes, or there is no such model.
    """
    check_choice("source", source, (TEACHER, STUDENT))
    rows, columns = (student, teacher) if source == STUDENT else (teacher, student)
    found = matrix[
        np.ix_(
            _places("alignment's source nodes", rows, source_nodes),
            _places("alignment's target nodes", columns, target_nodes),
        )
    ]
    return found if source == STUDENT else found.T


def _places(whose: str, names: Sequence[str], known: Sequence[str]) -> list[int]:
    places = {name: place for place, name in enumerate(known)}
    if missing := [name for name in names if name not in places]:
        raise ValueError(
            f"{quoted(missing[0])} is not one of the {whose}; expected one of "
            f"{len(known)}, {known[0]} to {known[-1]}"
        )
    return [places[name] for name in names]
