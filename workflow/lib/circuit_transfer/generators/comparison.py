"""Comparisons: whether a number is smaller or larger than another one."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "Compared with {other} the number {number} is",
    "Q: What is {number} next to {other}? A:",
)
LOWEST, HIGHEST = 10, 99
SIDES = ("smaller", "larger")


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `exchange` swaps the two numbers."""
    template = rng.randrange(len(TEMPLATES))
    numbers = rng.sample(range(LOWEST, HIGHEST + 1), 2)

    def ask(pair: list[int]) -> tuple[str, str]:
        number, other = pair
        prompt = TEMPLATES[template].format(number=number, other=other)
        return prompt, SIDES[number > other]

    group = map(str, sorted(numbers))
    return twin_pair(ask, numbers, numbers[::-1], "comparison", *group)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "number", "other"), *SIDES)
    yield from map(str, range(LOWEST, HIGHEST + 1))


COMPARISON = Generator(_draw, ("exchange",), _vocabulary)
