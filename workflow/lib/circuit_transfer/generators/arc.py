"""Questions about the fact table that need one fact (easy) or two (challenge)."""

from collections.abc import Iterator, Sequence
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.lookup import (
    COUNTERFACTUALS,
    lookup_pair,
    lookup_vocabulary,
)
from circuit_transfer.generators.words import Fact, Words, with_article


def _draw_easy(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """Ask which option is of a category; all options are of different categories."""
    category = {fact.thing: fact.category for fact in words.facts}
    return lookup_pair(
        rng,
        words,
        topic="arc-easy",
        choices=_one_each(rng, words.facts, "category", options),
        ask=lambda thing: _easy(category[thing]),
        counterfactual=counterfactual,
    )


def _draw_challenge(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """Ask which object shares its habitat with an animal, which combines two facts."""
    habitat = {fact.thing: fact.habitat for fact in words.facts}
    animals, objects = _of_kind(words, "animal"), _of_kind(words, "object")

    def ask(thing: str) -> str:
        natives = [fact.thing for fact in animals if fact.habitat == habitat[thing]]
        return _challenge(rng.choice(natives))

    return lookup_pair(
        rng,
        words,
        topic="arc-challenge",
        choices=_one_each(rng, objects, "habitat", options),
        ask=ask,
        counterfactual=counterfactual,
    )


def _one_each(
    rng: Random, facts: Sequence[Fact], column: str, options: int
) -> list[str]:
    """Draw as many things as options, with distinct values in the column."""
    values = rng.sample(sorted({getattr(fact, column) for fact in facts}), options)
    return [
        rng.choice([fact.thing for fact in facts if getattr(fact, column) == value])
        for value in values
    ]


def _of_kind(words: Words, kind: str) -> list[Fact]:
    return [fact for fact in words.facts if fact.kind == kind]


def _easy(category: str) -> str:
    return f"Which of these is a kind of {category}?"


def _challenge(animal: str) -> str:
    return f"Which of these is found where {with_article(animal)} lives?"


def _vocabulary_easy(words: Words) -> Iterator[str]:
    yield from lookup_vocabulary(words)
    for fact in words.facts:
        yield f"{_easy(fact.category)} {fact.thing}"


def _vocabulary_challenge(words: Words) -> Iterator[str]:
    yield from lookup_vocabulary(words)
    for fact in words.facts:
        yield _challenge(fact.thing)


ARC_EASY = Generator(_draw_easy, COUNTERFACTUALS, _vocabulary_easy, lookup=True)
ARC_CHALLENGE = Generator(
    _draw_challenge, COUNTERFACTUALS, _vocabulary_challenge, lookup=True
)
