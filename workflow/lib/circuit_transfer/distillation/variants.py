"""The variants of distillation: what is trained, by which loss, towards what.

Each is the method, a baseline, or a control that differs from the method in one thing.
Nothing here needs torch or SciPy: a configuration is checked against it.
"""

from dataclasses import dataclass

from circuit_transfer.messages import quoted

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
