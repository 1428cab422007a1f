"""Opposites: hot and cold, new and old."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "At the {place} {name} said that it was not {given} but",
    "The opposite of {given}, as {name} learned in the {place}, is",
)


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `word` asks for the opposite of another word."""
    template = rng.randrange(len(TEMPLATES))
    name, place = rng.choice(words.names), rng.choice(words.places)

    def ask(given: int) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(
            name=name, place=place, given=words.opposites[given]
        )
        # Opposites are at adjacent indices 2n and 2n + 1.
        return prompt, words.opposites[given ^ 1]

    given = rng.sample(range(len(words.opposites)), 2)
    return twin_pair(ask, *given, "opposite", str(template), name, place)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from blanked(TEMPLATES, "name", "place", "given")
    yield from (*words.names, *words.places, *words.opposites)


OPPOSITE = Generator(_draw, ("word",), _vocabulary)
