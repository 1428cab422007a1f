"""Recall of facts without answer options: the category or habitat of a thing."""

from collections.abc import Callable, Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, draw_two, twin_pair
from circuit_transfer.generators.words import Words, with_article

TEMPLATES = {
    "category": (
        "{name} learned at the {place} that {thing} is a kind of",
        "In the {place} {name} called {thing} some kind of",
    ),
    "habitat": (
        "{name} learned at the {place} that {thing} is found near the",
        "In the {place} {name} read of {thing} and its home, the",
    ),
}


def _draw(column: str) -> Callable[..., PromptPair]:
    def draw(
        rng: Random, words: Words, *, counterfactual: str, options: int
    ) -> PromptPair:
        """The counterfactual `thing` names a thing with a different answer."""
        template = rng.randrange(len(TEMPLATES[column]))
        name, place = rng.choice(words.names), rng.choice(words.places)
        known = {fact.thing: getattr(fact, column) for fact in words.facts}

        def ask(thing: str) -> tuple[str, str]:
            prompt = TEMPLATES[column][template].format(
                name=name, place=place, thing=with_article(thing)
            )
            return prompt, known[thing]

        things = draw_two(rng, [*known.items()])
        return twin_pair(ask, *things, column, str(template), name, place)

    return draw


def _vocabulary(column: str) -> Callable[[Words], Iterator[str]]:
    def vocabulary(words: Words) -> Iterator[str]:
        yield from blanked(TEMPLATES[column], "name", "place", "thing")
        yield from (*words.names, *words.places)
        for fact in words.facts:
            yield f"{with_article(fact.thing)} {getattr(fact, column)}"

    return vocabulary


CATEGORY, HABITAT = (
    Generator(_draw(column), ("thing",), _vocabulary(column)) for column in TEMPLATES
)
