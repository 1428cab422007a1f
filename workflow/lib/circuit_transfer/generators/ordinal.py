"""Ordinals: the first, second, third or last word of a list."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "Of {listed} the {ordinal} one is",
    "What is the {ordinal} word of this list? {listed}. Answer: the",
)
ORDINALS = ("first", "second", "third")
LAST = "last"


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `ordinal` asks for another word of the list."""
    template = rng.randrange(len(TEMPLATES))
    ordinals = (*ORDINALS[: options - 1], LAST)
    listed = rng.sample((*words.nouns, *words.objects), len(ordinals))

    def ask(place: int) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(
            listed=", ".join(listed), ordinal=ordinals[place]
        )
        return prompt, listed[place]

    places = rng.sample(range(len(ordinals)), 2)
    return twin_pair(ask, *places, "ordinal", str(template), *listed)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from blanked(TEMPLATES, "listed", "ordinal")
    yield from (*ORDINALS, LAST, *words.nouns, *words.objects, ",")


ORDINAL = Generator(_draw, ("ordinal",), _vocabulary, lookup=True)
