"""Agreement: the verb agrees with the subject, not with the noun next to it."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "The {subject} {preposition} the {other}",
    "Nobody knows where the {subject} {preposition} the {other}",
)
PREPOSITIONS = ("near", "behind", "under")
VERBS = {False: "is", True: "are"}


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `number` changes the grammatical number of the subject."""
    template, preposition = rng.randrange(len(TEMPLATES)), rng.choice(PREPOSITIONS)
    subject, other = rng.sample(words.nouns, 2)
    other = rng.choice((other, _plural(other)))

    def ask(several: bool) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(
            subject=_plural(subject) if several else subject,
            preposition=preposition,
            other=other,
        )
        return prompt, VERBS[several]

    numbers = rng.sample((False, True), 2)
    group = (str(template), subject, preposition, other)
    return twin_pair(ask, *numbers, "agreement", *group)


def _plural(noun: str) -> str:
    """`box` gives `boxes`, `scarf` gives `scarves`, `key` gives `keys`."""
    if noun.endswith("f"):
        return f"{noun[:-1]}ves"
    return f"{noun}es" if noun.endswith(("x", "sh", "ch", "s")) else f"{noun}s"


def _vocabulary(words: Words) -> Iterator[str]:
    yield from blanked(TEMPLATES, "subject", "preposition", "other")
    yield from (*PREPOSITIONS, *VERBS.values())
    yield from (*words.nouns, *map(_plural, words.nouns))


AGREEMENT = Generator(_draw, ("number",), _vocabulary)
