"""What a generator is: how it draws prompt pairs, and how pairs are split."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from circuit_transfer.generators.words import Words


@dataclass(frozen=True)
class PromptPair:
    """A clean prompt and its counterfactual, with the right answer to each.

    Answers carry the leading space with which they follow the prompt. The groups
    name what may not be in both splits; both belong to the same split. A pair that is
    not `testable` is for training alone.
    """

    clean: str
    corrupted: str
    answer: str
    wrong_answer: str
    group: str
    corrupted_group: str
    testable: bool = True


@dataclass(frozen=True)
class Generator:
    """A task as a source of prompt pairs.

    Attributes:
        draw: `draw(rng, words, *, counterfactual, options)` gives one pair; `options`
            is the number of answer options, which only lookup tasks look at.
        counterfactuals: Names that `draw` accepts; the first is the default.
        vocabulary: Texts that hold every word that `draw` can write.
        lookup: The answer is looked up among options in the prompt, which models learn
            suddenly and late, so training starts such tasks with fewer options.
        single_token: An answer must be one token: of a number, the first digit alone
            is no answer. Models that split numbers have few pairs, or none.
    """

    draw: Callable[..., PromptPair]
    counterfactuals: tuple[str, ...]
    vocabulary: Callable[[Words], Iterable[str]]
    lookup: bool = False
    single_token: bool = False


def split_of(group: str) -> str:
    """Test for the tenth of all groups with the lowest hash, else train."""
    return (
        "test"
        if int(sha256(group.encode()).hexdigest()[:8], 16) < 2**32 / 10
        else "train"
    )
