"""Two prompts that ask different questions about the same things."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from circuit_transfer.generators.contract import PromptPair


def twin_pair(
    ask: Callable[..., tuple[str, str]], clean: object, corrupted: object, *group: str
) -> PromptPair:
    """Ask twice; `ask` writes the prompt and the answer, a word without its space.

    The parts of the group name what both prompts share, so that it holds for both.
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
    """Draw two things with different answers from pairs of thing and answer."""
    (thing, answer), other = rng.choice(answers), rng.choice(answers)
    while other[1] == answer:
        other = rng.choice(answers)
    return [thing, other[0]]


def blanked(templates: Iterable[str], *fields: str) -> list[str]:
    """The templates without what is filled in, for a vocabulary."""
    return [template.format(**dict.fromkeys(fields, "")) for template in templates]
