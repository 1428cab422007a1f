"""Parity: whether a number is even or odd."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, draw_two, twin_pair
from circuit_transfer.generators.words import Words, with_article

TEMPLATES = (
    "{name} has {thing} with the number {number}, which is",
    "The number of the {noun} that {name} found is {number}, so it is",
)
LOWEST, HIGHEST = 10, 99
KINDS = ("even", "odd")


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `number` has a number of the other parity."""
    template = rng.randrange(len(TEMPLATES))
    name, noun = rng.choice(words.names), rng.choice(words.nouns)
    kinds = [(str(each), KINDS[each % 2]) for each in range(LOWEST, HIGHEST + 1)]

    def ask(number: str) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(
            name=name, thing=with_article(noun), noun=noun, number=number
        )
        return prompt, KINDS[int(number) % 2]

    numbers = draw_two(rng, kinds)
    return twin_pair(ask, *numbers, "parity", str(template), name, noun)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "name", "thing", "noun", "number"), *KINDS)
    yield from (*words.names, *map(with_article, words.nouns))
    yield from map(str, range(LOWEST, HIGHEST + 1))


PARITY = Generator(_draw, ("number",), _vocabulary)
