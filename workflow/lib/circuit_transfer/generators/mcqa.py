"""Copied colours: the answer is the letter of the colour that a statement names."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.lookup import (
    COUNTERFACTUALS,
    lookup_pair,
    lookup_vocabulary,
)
from circuit_transfer.generators.words import Words, with_article


def _question(noun: str, color: str) -> str:
    noun = with_article(noun)
    return f"{noun.capitalize()} is {color}. What color is {noun}?"


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    noun = rng.choice(words.nouns)
    return lookup_pair(
        rng,
        words,
        topic=f"mcqa/{noun}",
        choices=rng.sample(words.colors, options),
        ask=lambda color: _question(noun, color),
        counterfactual=counterfactual,
    )


def _vocabulary(words: Words) -> Iterator[str]:
    yield from lookup_vocabulary(words)
    yield from (_question(noun, "") for noun in words.nouns)
    yield from words.colors


MCQA = Generator(_draw, COUNTERFACTUALS, _vocabulary, lookup=True)
