"""Letters for the models with a planted circuit, see `embedded.planted`.

The letters mean nothing but what the planted weights make of them.
"""

from collections.abc import Iterator
from random import Random
from string import ascii_uppercase

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.words import Words

LETTERS = ascii_uppercase[:16]
EARLY, LATE = "early", "late"
LETTERS_OF_A_PROMPT = 6
# Which letters of the prompt `x a b y c d z a` are replaced by which.
SWAPS = {
    "query": {"last": "c"},
    "key": {"a": "c", "c": "a"},
    "value": {"b": "d", "d": "b"},
}
MIX = "mix"


def letter_classes() -> tuple[str, str]:
    """Return the early and the late half of the letters."""
    half = len(LETTERS) // 2
    return LETTERS[:half], LETTERS[half:]


def _draw_classes(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `late` has letters of the other class at all positions."""
    early, late = (
        " ".join(rng.choices(letters, k=LETTERS_OF_A_PROMPT))
        for letters in letter_classes()
    )
    return PromptPair(early, late, f" {EARLY}", f" {LATE}", early, late)


def _draw_induction(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The answer to `x a b y c d z a` is `b`; to every counterfactual it is `d`.

    For `query` the last letter is `c`, for `key` the first `a` and the `c` are
    exchanged, for `value` the `b` and the `d`; for `mix` it is one of the three.
    """
    letters = dict(zip("xabycdz", rng.sample(LETTERS, 7), strict=True))
    letters["last"] = letters["a"]
    kind = rng.choice([*SWAPS]) if counterfactual == MIX else counterfactual
    other = {place: letters[SWAPS[kind].get(place, place)] for place in letters}
    clean, corrupted = (" ".join(each.values()) for each in (letters, other))
    right, wrong = f" {letters['b']}", f" {letters['d']}"
    return PromptPair(clean, corrupted, right, wrong, clean, corrupted)


def _class_vocabulary(words: Words) -> Iterator[str]:
    yield from (*LETTERS, EARLY, LATE)


def _letter_vocabulary(words: Words) -> Iterator[str]:
    yield from LETTERS


PLANTED_CLASSES = Generator(_draw_classes, ("late",), _class_vocabulary)
PLANTED_INDUCTION = Generator(_draw_induction, (MIX, *SWAPS), _letter_vocabulary)
