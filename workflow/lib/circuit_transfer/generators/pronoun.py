"""Pronouns: she or he, depending on the name."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, draw_two, twin_pair
from circuit_transfer.generators.words import Words, with_article

TEMPLATES = (
    "{name} took {thing} to the {place} because",
    "In the {place} {name} lost {thing} and now",
)


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `name` has a name with the other pronoun."""
    template = rng.randrange(len(TEMPLATES))
    place, thing = rng.choice(words.places), rng.choice(words.objects)
    pronouns = {name: "she" if name in words.women else "he" for name in words.names}

    def ask(name: str) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(
            name=name, place=place, thing=with_article(thing)
        )
        return prompt, pronouns[name]

    names = draw_two(rng, [*pronouns.items()])
    return twin_pair(ask, *names, "pronoun", str(template), place, thing)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "name", "place", "thing"), "she he")
    yield from (*words.names, *words.places, *map(with_article, words.objects))


PRONOUN = Generator(_draw, ("name",), _vocabulary)
