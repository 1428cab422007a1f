"""The variants of distillation: what is trained, by which loss, towards what.

Each is the method, a baseline, or a control that differs from the method in one thing.
Nothing here needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from circuit_transfer.messages import quoted, some
from circuit_transfer.statistics import generator

# Terms of the loss.
TASK, CKA, LOGITS = "task", "cka", "logits"
# Which parameters are trained.
MATCHED_HEADS, RANDOM_HEADS, EVERYTHING = "matched heads", "random heads", "everything"
# What a head is compared with.
MATCHED, RANDOM, SHUFFLED = "matched", "random", "shuffled"

# A student's head and the teacher's that it is compared with, by their names.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Variant:
    """One way of training a student.

    Attributes:
        trains: `matched heads`, as many `random heads` instead, or `everything`.
        terms: of the loss: `task`, the cross-entropy of the right answer; `cka`, the
            sum of `1 - CKA` over the pairs of heads; `logits`, the divergence from the
            teacher's distribution.
        compares: each head with its `matched` teacher head, with another one at
            `random`, or with the matched one's activations `shuffled` over examples.
        description: in one line.
    """

    trains: str
    terms: tuple[str, ...]
    compares: str
    description: str


VARIANTS = {
    "ce-heads": Variant(
        MATCHED_HEADS, (TASK,), MATCHED, "cross-entropy on the matched heads alone"
    ),
    "matched-cka": Variant(
        MATCHED_HEADS,
        (TASK, CKA),
        MATCHED,
        "cross-entropy and CKA with the matched teacher heads",
    ),
    "random-cka": Variant(
        MATCHED_HEADS,
        (TASK, CKA),
        RANDOM,
        "cross-entropy and CKA with random teacher heads other than the matched ones",
    ),
    "shuffled-cka": Variant(
        MATCHED_HEADS,
        (TASK, CKA),
        SHUFFLED,
        "cross-entropy and CKA with the matched teacher heads on other examples",
    ),
    "cka-only": Variant(
        MATCHED_HEADS, (CKA,), MATCHED, "CKA with the matched teacher heads alone"
    ),
    "fine-tune": Variant(
        EVERYTHING, (TASK,), MATCHED, "cross-entropy on all parameters"
    ),
    "logits": Variant(
        EVERYTHING, (LOGITS,), MATCHED, "the teacher's distribution on all parameters"
    ),
    "random-heads": Variant(
        RANDOM_HEADS,
        (TASK, CKA),
        MATCHED,
        "as matched-cka, but training as many random student heads",
    ),
}


def variant_of(name: str) -> Variant:
    """Return a variant by its name.

    Raises:
        ValueError: there is no variant of this name.
    """
    if name not in VARIANTS:
        known = ", ".join(VARIANTS)
        raise ValueError(f"variant {quoted(name)}: expected one of {known}")
    return VARIANTS[name]


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
