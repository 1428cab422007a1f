"""Copying: repeat the word of a list that is marked by a star."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "Words: {listed}. The marked word is",
    "Copy the word after the star: {listed}. Copy:",
)


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `mark` marks another word."""
    template = rng.randrange(len(TEMPLATES))
    listed = rng.sample((*words.nouns, *words.objects), options)

    def ask(marked: int) -> tuple[str, str]:
        starred = [*listed[:marked], "*", *listed[marked:]]
        return TEMPLATES[template].format(listed=" ".join(starred)), listed[marked]

    marks = rng.sample(range(options), 2)
    return twin_pair(ask, *marks, "copying", str(template), *listed)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "listed"), *words.nouns, *words.objects, "*")


COPYING = Generator(_draw, ("mark",), _vocabulary, lookup=True)
