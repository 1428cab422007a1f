"""Multiple-choice questions answered by the letter of an option (mcqa, arc)."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from circuit_transfer.generators.contract import PromptPair
from circuit_transfer.generators.words import Words

COUNTERFACTUALS = ("symbol", "question")


def lookup_pair(
    rng: Random,
    words: Words,
    *,
    topic: str,
    choices: Sequence[str],
    ask: Callable[[str], str],
    counterfactual: str,
) -> PromptPair:
    """Return a pair of questions about one of `choices`.

    The counterfactual `symbol` has the same options with other letters; `question`
    has the same options and letters, but asks for another option. The group is the
    topic and the set of options, which both prompts share.

    Args:
        rng: random generator.
        words: word lists to draw from.
        topic: first part of the group.
        choices: the options, in order.
        ask: writes the question that a choice answers.
        counterfactual: `symbol` or `question`.
    """
    right, other = rng.sample(range(len(choices)), 2)
    letters = rng.sample(words.letters, 2 * len(choices))
    symbols, changed = letters[: len(choices)], letters[len(choices) :]
    question = ask(choices[right])
    if counterfactual == "symbol":
        corrupted, wrong = _prompt(question, changed, choices), changed[right]
    else:
        corrupted = _prompt(ask(choices[other]), symbols, choices)
        wrong = symbols[other]
    group = "/".join((topic, *sorted(choices)))
    return PromptPair(
        clean=_prompt(question, symbols, choices),
        corrupted=corrupted,
        answer=f" {symbols[right]}",
        wrong_answer=f" {wrong}",
        group=group,
        corrupted_group=group,
    )


def lookup_vocabulary(words: Words) -> Iterator[str]:
    """Yield the texts around the question."""
    yield _prompt("", words.letters, words.letters)


def _prompt(question: str, letters: Sequence[str], choices: Sequence[str]) -> str:
    lines = (
        f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True)
    )
    return " ".join((question, *lines, "Answer:"))
