"""Successors: the day or month after or before another one."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "{name} saw the {place} in {given} and left the month {relation}, in",
    "{name} was at the {place} on {given} and at home the day {relation}, on",
)
STEPS = {"after": 1, "before": -1}


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `start` changes the given day or month.

    `relation` exchanges before and after.
    """
    template = rng.randrange(len(TEMPLATES))
    name, place = rng.choice(words.names), rng.choice(words.places)
    cycle = (words.months, words.days)[template]
    start, other = rng.sample(range(len(cycle)), 2)
    relation, opposite = rng.sample([*STEPS], 2)

    def ask(question: tuple[int, str]) -> tuple[str, str]:
        start, relation = question
        prompt = TEMPLATES[template].format(
            name=name, place=place, given=cycle[start], relation=relation
        )
        return prompt, cycle[(start + STEPS[relation]) % len(cycle)]

    changed = {"start": (other, relation), "relation": (start, opposite)}
    return twin_pair(
        ask,
        (start, relation),
        changed[counterfactual],
        *("successor", str(template), name, place),
    )


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "name", "place", "given", "relation"), *STEPS)
    yield from (*words.names, *words.places, *words.days, *words.months)


SUCCESSOR = Generator(_draw, ("start", "relation"), _vocabulary)
