"""Indirect object identification: the name that is not repeated is the receiver."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.words import Words, with_article

TEMPLATES = (
    "When {first} and {second} went to the {place}, {giver} gave {thing} to",
    "As {first} and {second} left the {place}, {giver} gave {thing} to",
    "After {first} and {second} met at the {place}, {giver} handed {thing} to",
    "While {first} and {second} were at the {place}, {giver} passed {thing} to",
)


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `s2_io_flip` exchanges giver and receiver."""
    template = rng.randrange(len(TEMPLATES))
    first, second = rng.sample(words.names, 2)
    giver, receiver = rng.sample((first, second), 2)
    place, thing = rng.choice(words.places), rng.choice(words.objects)
    group = "/".join(("ioi", str(template), *sorted((first, second)), place, thing))

    def prompt(giver: str) -> str:
        return TEMPLATES[template].format(
            first=first,
            second=second,
            place=place,
            giver=giver,
            thing=with_article(thing),
        )

    return PromptPair(
        clean=prompt(giver),
        corrupted=prompt(receiver),
        answer=f" {receiver}",
        wrong_answer=f" {giver}",
        group=group,
        corrupted_group=group,
    )


def _vocabulary(words: Words) -> Iterator[str]:
    blank = dict.fromkeys(("first", "second", "place", "giver", "thing"), "")
    yield from (template.format(**blank) for template in TEMPLATES)
    yield from (*words.names, *words.places, *map(with_article, words.objects))


IOI = Generator(_draw, ("s2_io_flip",), _vocabulary)
