"""Generate the prompt pairs of the tasks from word lists.

A new task is a module that defines a `Generator`, and an entry in `GENERATORS`.
"""

from collections.abc import Iterator
from random import Random

import polars as pl

from circuit_transfer.generators.agreement import AGREEMENT
from circuit_transfer.generators.arc import ARC_CHALLENGE, ARC_EASY
from circuit_transfer.generators.arithmetic import ADDITION, SUBTRACTION
from circuit_transfer.generators.binding import COLORED_OBJECTS, POSSESSIONS
from circuit_transfer.generators.comparison import COMPARISON
from circuit_transfer.generators.contract import Generator, PromptPair, split_of
from circuit_transfer.generators.copying import COPYING
from circuit_transfer.generators.digits import DIGIT_ADDITION
from circuit_transfer.generators.entity_tracking import ENTITY_TRACKING
from circuit_transfer.generators.induction import INDUCTION
from circuit_transfer.generators.ioi import IOI
from circuit_transfer.generators.mcqa import MCQA
from circuit_transfer.generators.opposite import OPPOSITE
from circuit_transfer.generators.ordinal import ORDINAL
from circuit_transfer.generators.parity import PARITY
from circuit_transfer.generators.planted import PLANTED_CLASSES, PLANTED_INDUCTION
from circuit_transfer.generators.pronoun import PRONOUN
from circuit_transfer.generators.recall import CATEGORY, HABITAT
from circuit_transfer.generators.sequence import SEQUENCE
from circuit_transfer.generators.successor import SUCCESSOR
from circuit_transfer.generators.theory_of_mind import THEORY_OF_MIND
from circuit_transfer.generators.words import Words, read_words
from circuit_transfer.generators.years import GREATER_THAN
from circuit_transfer.prompts.frame import Prompt, prompt_frame

__all__ = [
    "GENERATORS",
    "Generator",
    "PromptPair",
    "Words",
    "draw_pairs",
    "generate_prompts",
    "get_generator",
    "read_words",
    "split_of",
]

GENERATORS = {
    "ioi": IOI,
    "mcqa": MCQA,
    "arithmetic-addition": ADDITION,
    "arithmetic-subtraction": SUBTRACTION,
    "arc-easy": ARC_EASY,
    "arc-challenge": ARC_CHALLENGE,
    "copying": COPYING,
    "induction": INDUCTION,
    "ordinal": ORDINAL,
    "colored-objects": COLORED_OBJECTS,
    "possession": POSSESSIONS,
    "pronoun": PRONOUN,
    "agreement": AGREEMENT,
    "comparison": COMPARISON,
    "parity": PARITY,
    "successor": SUCCESSOR,
    "opposite": OPPOSITE,
    "category": CATEGORY,
    "habitat": HABITAT,
    "sequence": SEQUENCE,
    "greater-than": GREATER_THAN,
    "digit-addition": DIGIT_ADDITION,
    "entity-tracking": ENTITY_TRACKING,
    "theory-of-mind": THEORY_OF_MIND,
    "planted-classes": PLANTED_CLASSES,
    "planted-induction": PLANTED_INDUCTION,
}
OPTIONS = 4
# Consecutive draws without a new prompt after which a generator counts as exhausted.
PATIENCE = 3_000


def get_generator(name: str) -> Generator:
    """Return the generator of a name.

    Raises:
        ValueError: There is no generator of this name.
    """
    if name not in GENERATORS:
        raise ValueError(f"unknown generator {name!r}: expected one of {[*GENERATORS]}")
    return GENERATORS[name]


def draw_pairs(
    name: str,
    words: Words,
    split: str,
    rng: Random,
    *,
    counterfactual: str | None = None,
    options: int = OPTIONS,
) -> Iterator[PromptPair]:
    """Draw pairs indefinitely, with replacement, both prompts from the split.

    Args:
        name: name of the generator.
        words: word lists to draw from.
        split: `train` or `test`.
        rng: random generator.
        counterfactual: kind of corrupted prompt; by default the generator's first.
        options: number of answer options in lookup tasks.

    Raises:
        ValueError: The generator or its counterfactual is unknown.
    """
    generator = get_generator(name)
    counterfactual = counterfactual or generator.counterfactuals[0]
    if counterfactual not in generator.counterfactuals:
        raise ValueError(
            f"generator {name!r} has no counterfactual {counterfactual!r}: "
            f"expected one of {[*generator.counterfactuals]}"
        )
    while True:
        pair = generator.draw(
            rng, words, counterfactual=counterfactual, options=options
        )
        in_split = split_of(pair.group) == split_of(pair.corrupted_group) == split
        if in_split and (pair.testable or split == "train"):
            yield pair


def generate_prompts(
    name: str,
    words: Words,
    split: str,
    count: int,
    *,
    seed: int,
    counterfactual: str | None = None,
) -> pl.DataFrame:
    """Generate the given number of distinct prompts for one split of a task.

    The rows depend on the seed only, not on the other split; a smaller number of rows
    gives the first rows of a larger one.

    Args:
        name: name of the generator.
        words: word lists to draw from.
        split: `train` or `test`.
        count: number of pairs.
        seed: seed of the random generator.
        counterfactual: kind of corrupted prompt; by default the generator's first.

    Returns:
        A frame with `prompts.frame.PROMPT_SCHEMA`, its rows numbered from 1, and with
        the column `marks` if the generator marks places.

    Raises:
        ValueError: the generator cannot make that many distinct prompts.
    """
    drawn = _distinct(name, words, split, count, seed, counterfactual)
    return prompt_frame(
        Prompt(
            clean=pair.clean,
            corrupted=pair.corrupted,
            answers=(pair.answer,),
            wrong_answers=(pair.wrong_answer,),
            split=split,
            group=pair.group,
            row=number,
            single_token=GENERATORS[name].single_token,
            marks=pair.marks,
        )
        for number, pair in enumerate(drawn, start=1)
    )


def _distinct(
    name: str,
    words: Words,
    split: str,
    count: int,
    seed: int,
    counterfactual: str | None,
) -> list[PromptPair]:
    """Return the first `count` pairs with distinct clean prompts."""
    rng = Random(f"{name}/{split}/{seed}")
    source = draw_pairs(name, words, split, rng, counterfactual=counterfactual)
    found: dict[str, PromptPair] = {}
    misses = 0
    while len(found) < count:
        pair = next(source)
        misses = misses + 1 if pair.clean in found else 0
        found.setdefault(pair.clean, pair)
        if misses > PATIENCE:
            raise ValueError(
                f"generator {name!r} can make only {len(found)} distinct {split} "
                f"prompts, but {count} were requested"
            )
    return list(found.values())
