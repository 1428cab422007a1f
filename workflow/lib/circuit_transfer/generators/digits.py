"""Sums of single digits, after two examples; the sum is a single digit too."""

from collections.abc import Iterator
from itertools import product
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.words import Words

LARGEST, EXAMPLES = 9, 2
SUMS = tuple(
    (first, second)
    for first, second in product(range(1, LARGEST), repeat=2)
    if first + second <= LARGEST
)


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `operand` has another first operand in the last sum."""
    second = rng.randint(1, LARGEST - 2)
    first, other = rng.sample(range(1, LARGEST - second + 1), 2)
    asked = {(each, second) for each in (first, other)}
    asked |= {(second, each) for each in (first, other)}
    examples = rng.sample([each for each in SUMS if each not in asked], EXAMPLES)
    shown = "".join(f"{a} + {b} = {a + b}, " for a, b in examples)
    group = f"digits/{shown}"  # prompts with the same examples are in one split

    def prompt(first: int) -> str:
        return f"{shown}{first} + {second} = "

    return PromptPair(
        clean=prompt(first),
        corrupted=prompt(other),
        answer=str(first + second),
        wrong_answer=str(other + second),
        group=group,
        corrupted_group=group,
    )


def _vocabulary(words: Words) -> Iterator[str]:
    yield "+ = ,"
    yield from map(str, range(LARGEST + 1))


DIGIT_ADDITION = Generator(_draw, ("operand",), _vocabulary, single_token=True)
