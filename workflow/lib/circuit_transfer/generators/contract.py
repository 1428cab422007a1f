"""The interface of a generator of prompt pairs, and the split of pairs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from circuit_transfer.generators.words import Words
from circuit_transfer.prompts.frame import Mark


@dataclass(frozen=True)
class PromptPair:
    """A clean prompt and its counterfactual, with the right answer to each.

    Answers include the leading space that separates them from the prompt. Prompts of
    one group must be in the same split; both groups of a pair are. A pair that is not
    `testable` is used for training only. `marks` are places in the clean prompt.
    """

    clean: str
    corrupted: str
    answer: str
    wrong_answer: str
    group: str
    corrupted_group: str
    testable: bool = True
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Generator:
    """A task as a source of prompt pairs.

    Attributes:
        draw: `draw(rng, words, *, counterfactual, options)` returns one pair; `options`
            is the number of answer options, used by lookup tasks only.
        counterfactuals: Names that `draw` accepts; the first is the default.
        vocabulary: Texts that contain every word that `draw` can produce.
        lookup: Whether the answer is one of several options in the prompt. Models learn
            such tasks late and abruptly, so training starts them with fewer options.
        single_token: Whether an answer must be a single token, since the first digit of
            a number is not an answer. Models that split numbers have few or no pairs.
    """

    draw: Callable[..., PromptPair]
    counterfactuals: tuple[str, ...]
    vocabulary: Callable[[Words], Iterable[str]]
    lookup: bool = False
    single_token: bool = False


def split_of(group: str) -> str:
    """Return `test` for the tenth of all groups with the lowest hash, else `train`."""
    return (
        "test"
        if int(sha256(group.encode()).hexdigest()[:8], 16) < 2**32 / 10
        else "train"
    )
