"""Induction: a word of a list is repeated; the answer is the word that followed it."""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words

TEMPLATES = ("{listed} {cue}", "Say again what follows: {listed}. Again: {cue}")


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `cue` repeats another word of the list."""
    template = rng.randrange(len(TEMPLATES))
    # The last word has no successor, so it cannot be the cue.
    listed = rng.sample((*words.nouns, *words.objects), options + 1)

    def ask(cue: int) -> tuple[str, str]:
        prompt = TEMPLATES[template].format(listed=" ".join(listed), cue=listed[cue])
        return prompt, listed[cue + 1]

    cues = rng.sample(range(options), 2)
    return twin_pair(ask, *cues, "induction", str(template), *listed)


def _vocabulary(words: Words) -> Iterator[str]:
    yield from (*blanked(TEMPLATES, "listed", "cue"), *words.nouns, *words.objects)


INDUCTION = Generator(_draw, ("cue",), _vocabulary, lookup=True)
