"""Pairs of prompts that ask different questions about the same things."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from circuit_transfer.generators.contract import PromptPair


def twin_pair(
    ask: Callable[..., tuple[str, str]], clean: object, corrupted: object, *group: str
) -> PromptPair:
    """Return the pair of prompts that `ask` writes for two cases.

    Args:
        ask: returns prompt and answer (without leading space) of a case.
        clean: case of the clean prompt.
        corrupted: case of the corrupted prompt.
        group: parts of the group, which both prompts share.
    """
    prompt, answer = ask(clean)
    other_prompt, other_answer = ask(corrupted)
    name = "/".join(group)
    return PromptPair(
        clean=prompt,
        corrupted=other_prompt,
        answer=f" {answer}",
        wrong_answer=f" {other_answer}",
        group=name,
        corrupted_group=name,
    )


def draw_two(rng: Random, answers: Sequence[tuple[str, str]]) -> list[str]:
    """Draw two things with different answers from `(thing, answer)` pairs."""
    (thing, answer), other = rng.choice(answers), rng.choice(answers)
    while other[1] == answer:
        other = rng.choice(answers)
    return [thing, other[0]]


def blanked(templates: Iterable[str], *fields: str) -> list[str]:
    """Return templates with empty fields, for a vocabulary."""
    return [template.format(**dict.fromkeys(fields, "")) for template in templates]
