"""Greater-than: an event ends in a later year of its century than it began in.

As in Hanna, Liu and Variengien, arXiv 2305.00586. Right and wrong answer differ in the
first digit, so that the task is the same for tokenizers that split numbers.
"""

from collections.abc import Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.words import Words

TEMPLATES = (
    "The {event} lasted from the year {century}{year} to the year {century}",
    "The {event} began in {century}{year} and ended in {century}",
)
EVENTS = (
    *("war", "siege", "campaign", "famine", "reign", "voyage", "dispute", "project"),
    *("expedition", "strike", "journey", "trial"),
)
CENTURIES = range(14, 19)
EARLIEST = "01"


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """The counterfactual `earliest` begins in the year 01, which every year follows."""
    template, event = rng.choice(TEMPLATES), rng.choice(EVENTS)
    century, decade = rng.choice(CENTURIES), rng.randint(2, 7)
    year = f"{decade}{rng.randint(2, 8)}"
    later, earlier = rng.randint(decade + 1, 9), rng.randint(0, decade - 1)

    def prompt(year: str) -> str:
        return template.format(event=event, century=century, year=year)

    group = f"years/{TEMPLATES.index(template)}/{event}/{century}"
    return PromptPair(
        clean=prompt(year),
        corrupted=prompt(EARLIEST),
        answer=f"{later}{rng.randint(2, 8)}",
        wrong_answer=f"{earlier}{rng.randint(2, 8)}",
        group=group,
        corrupted_group=group,
    )


def _vocabulary(words: Words) -> Iterator[str]:
    blank = dict.fromkeys(("event", "century", "year"), "")
    yield from (template.format(**blank) for template in TEMPLATES)
    yield from EVENTS
    yield from (f"{number:02}" for number in range(100))
    # A tokenizer of up to three digits a token splits 1742 into 174 and 2.
    yield from map(str, (*range(10), *range(140, 190)))


GREATER_THAN = Generator(_draw, ("earliest",), _vocabulary)
