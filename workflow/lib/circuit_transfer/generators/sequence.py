"""Sequences: what follows three days, months, letters or numbers in their order."""

from collections.abc import Iterator
from random import Random
from string import ascii_uppercase

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "{name} counted in the {place}: {listed},",
    "In the {place} {name} said: {listed},",
)
NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)
LISTED = 3


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `start` begins at another place of the same order."""
    template = rng.randrange(len(TEMPLATES))
    name, place = rng.choice(words.names), rng.choice(words.places)
    kind = rng.randrange(4)
    order = (words.days, words.months, tuple(ascii_uppercase), NUMBERS)[kind]

    def ask(start: int) -> tuple[str, str]:
        listed = ", ".join(order[start : start + LISTED])
        prompt = TEMPLATES[template].format(name=name, place=place, listed=listed)
        return prompt, order[start + LISTED]

    starts = rng.sample(range(len(order) - LISTED), 2)
    return twin_pair(ask, *starts, "sequence", str(template), name, place, str(kind))


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "name", "place", "listed"), *ascii_uppercase)
    yield from (*words.names, *words.places, *words.days, *words.months, *NUMBERS)


SEQUENCE = Generator(_draw, ("start",), _vocabulary)
