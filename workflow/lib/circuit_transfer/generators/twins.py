"""Pairs of prompts that ask different questions about the same things."""

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random

from circuit_transfer.generators.contract import PromptPair
from circuit_transfer.prompts.frame import Mark

MARKED = re.compile(r"\[(?P<name>[a-z-]+)\|(?P<text>[^\]]*)\]")


def twin_pair(
    ask: Callable[..., tuple[str, str]], clean: object, corrupted: object, *group: str
) -> PromptPair:
    """Return the pair of prompts that `ask` writes for two cases.

    Args:
        ask: returns prompt and answer (without leading space) of a case. Words of the
            prompt may be `marked`.
        clean: case of the clean prompt.
        corrupted: case of the corrupted prompt.
        group: parts of the group, which both prompts share.
    """
    prompt, answer = ask(clean)
    other_prompt, other_answer = ask(corrupted)
    clean_text, marks = without_marks(prompt)
    name = "/".join(group)
    return PromptPair(
        clean=clean_text,
        corrupted=without_marks(other_prompt)[0],
        answer=f" {answer}",
        wrong_answer=f" {other_answer}",
        group=name,
        corrupted_group=name,
        marks=marks,
    )


def marked(name: str, text: str) -> str:
    """Return a text that `twin_pair` replaces by itself, with a mark of this name."""
    return f"[{name}|{text}]"


def without_marks(text: str) -> tuple[str, tuple[Mark, ...]]:
    """Return a text with its `marked` parts as they are read, and where these are."""
    plain, marks, reached = "", [], 0
    for found in MARKED.finditer(text):
        plain += text[reached : found.start()]
        start, reached = len(plain), found.end()
        plain += found["text"]
        marks.append(Mark(found["name"], start, len(plain)))
    return plain + text[reached:], tuple(marks)


def draw_two(rng: Random, answers: Sequence[tuple[str, str]]) -> list[str]:
    """Draw two things with different answers from `(thing, answer)` pairs."""
    (thing, answer), other = rng.choice(answers), rng.choice(answers)
    while other[1] == answer:
        other = rng.choice(answers)
    return [thing, other[0]]


def blanked(templates: Iterable[str], *fields: str) -> list[str]:
    """Return templates with empty fields, for a vocabulary."""
    return [template.format(**dict.fromkeys(fields, "")) for template in templates]
