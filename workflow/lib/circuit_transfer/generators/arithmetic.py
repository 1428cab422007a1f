"""Sums and differences of two-digit numbers."""

from collections.abc import Callable, Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair, split_of
from circuit_transfer.generators.words import Words

# Small models need very long to learn larger numbers.
LOWEST, HIGHEST = 10, 59
TEMPLATES = {
    "+": ("The sum of {} and {} is", "Q: How much is {} plus {}? A:"),
    "-": ("The difference of {} and {} is", "Q: How much is {} minus {}? A:"),
}


def _operands(rng: Random, sign: str) -> tuple[int, int]:
    first, second = rng.randint(LOWEST, HIGHEST), rng.randint(LOWEST, HIGHEST)
    return (first, second) if sign == "+" else (max(first, second), min(first, second))


def _result(sign: str, operands: tuple[int, int]) -> int:
    return operands[0] + operands[1] if sign == "+" else operands[0] - operands[1]


def _group(sign: str, operands: tuple[int, int]) -> str:
    """Return the group of a pair of operands, in their order."""
    return sign.join(map(str, operands))


def _draw(sign: str) -> Callable[..., PromptPair]:
    def draw(
        rng: Random, words: Words, *, counterfactual: str, options: int
    ) -> PromptPair:
        """The counterfactual `random` has other operands with a different result."""
        template = rng.choice(TEMPLATES[sign])
        clean = corrupted = _operands(rng, sign)
        split = split_of(_group(sign, clean))
        while (
            _result(sign, corrupted) == _result(sign, clean)
            or split_of(_group(sign, corrupted)) != split
        ):
            corrupted = _operands(rng, sign)
        return PromptPair(
            clean=template.format(*clean),
            corrupted=template.format(*corrupted),
            answer=f" {_result(sign, clean)}",
            wrong_answer=f" {_result(sign, corrupted)}",
            group=_group(sign, clean),
            corrupted_group=_group(sign, corrupted),
            # The smallest and largest number have training neighbours on one side only.
            testable=not {LOWEST, HIGHEST} & {*clean, *corrupted},
        )

    return draw


def _vocabulary(sign: str) -> Callable[[Words], Iterator[str]]:
    def vocabulary(words: Words) -> Iterator[str]:
        yield from (template.format("", "") for template in TEMPLATES[sign])
        yield from map(str, range(2 * HIGHEST + 1))

    return vocabulary


ADDITION, SUBTRACTION = (
    Generator(_draw(sign), ("random",), _vocabulary(sign), single_token=True)
    for sign in TEMPLATES
)
