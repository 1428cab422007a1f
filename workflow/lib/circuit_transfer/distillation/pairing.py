"""The pairs of heads that a variant of distillation works with.

Apart from `variants`, which every start of the workflow reads: statistics need SciPy.
"""

from collections.abc import Sequence

from circuit_transfer.distillation.variants import (
    RANDOM,
    RANDOM_HEADS,
    Pair,
    Variant,
)
from circuit_transfer.messages import some
from circuit_transfer.statistics import generator


def variant_pairs(
    variant: Variant,
    matched: Sequence[Pair],
    student_heads: Sequence[str],
    teacher_heads: Sequence[str],
    seed: int,
) -> list[Pair]:
    """Return the pairs of heads that a variant works with, in the order of the matched.

    Random student heads are drawn without repetition from those that are not matched,
    and only if these are too few also from the others.

    Args:
        variant: of them, `trains` and `compares`.
        matched: the pairs that a matching has found.
        student_heads: names of all heads of the student.
        teacher_heads: names of all heads of the teacher.
        seed: of what is drawn.

    Raises:
        ValueError: there is no pair, a head is not one of its model, a student head is
            in two pairs, or the teacher has no other head to draw.
    """
    _check_pairs(matched, student_heads, teacher_heads)
    students, teachers = zip(*matched, strict=True)
    if variant.trains == RANDOM_HEADS:
        drawn = generator("distilled heads", seed).permutation(student_heads).tolist()
        students = sorted(drawn, key=lambda head: head in students)[: len(students)]
    if variant.compares == RANDOM:
        draw = generator("teacher heads", seed)
        teachers = [
            str(draw.choice([head for head in teacher_heads if head != own]))
            for own in teachers
        ]
    return list(zip(students, teachers, strict=True))


def _check_pairs(
    matched: Sequence[Pair], student_heads: Sequence[str], teacher_heads: Sequence[str]
) -> None:
    if not matched:
        raise ValueError("no pairs of heads: expected at least one")
    students = [student for student, _ in matched]
    for heads, known, model in (
        (students, student_heads, "student"),
        ([teacher for _, teacher in matched], teacher_heads, "teacher"),
    ):
        if unknown := [head for head in heads if head not in known]:
            raise ValueError(
                f"pairs of heads: {some(unknown)} not among the heads of the {model}, "
                f"{some(known)}"
            )
    if twice := [head for head in {*students} if students.count(head) > 1]:
        raise ValueError(f"pairs of heads: {some(twice)} of the student in several")
    if len(teacher_heads) < 2:
        raise ValueError("the teacher has a single head: expected at least two")
