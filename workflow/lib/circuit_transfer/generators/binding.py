"""Statements that bind objects to values, and a question about one of them."""

from collections.abc import Callable, Iterator
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, twin_pair
from circuit_transfer.generators.words import Words, with_article

# The statement of one object and its value, and the question.
COLORED = (
    ("here is {value} {thing}", "The color of the {thing} is"),
    ("he found {value} {thing}", "What is the color of the {thing}? It is"),
)
POSSESSION = (
    ("{value} has the {thing}", "The {thing} belongs to"),
    ("{value} took the {thing}", "Who has the {thing} now? It is"),
)


def _draw(
    topic: str, templates: tuple[tuple[str, str], ...]
) -> Callable[..., PromptPair]:
    def draw(
        rng: Random, words: Words, *, counterfactual: str, options: int
    ) -> PromptPair:
        """Ask for the value of one of the things.

        The counterfactual `question` asks for another thing; `values` exchanges the
        values (colours or owners) of this thing and another one.
        """
        number = rng.randrange(len(templates))
        statement, question = templates[number]
        things = rng.sample(words.nouns, options)
        values = rng.sample(_values(topic, words), options)
        asked, other = rng.sample(range(options), 2)
        exchanged = [*values]
        exchanged[asked], exchanged[other] = values[other], values[asked]

        def ask(case: tuple[int, list[str]]) -> tuple[str, str]:
            asked, values = case
            listed = ", ".join(
                statement.format(value=_written(topic, value), thing=thing)
                for value, thing in zip(values, things, strict=True)
            )
            prompt = f"{listed}. {question.format(thing=things[asked])}"
            return prompt[0].upper() + prompt[1:], values[asked]

        changed = {"question": (other, values), "values": (asked, exchanged)}
        return twin_pair(
            ask,
            (asked, values),
            changed[counterfactual],
            *(topic, str(number), *sorted(things), *sorted(values)),
        )

    return draw


def _values(topic: str, words: Words) -> tuple[str, ...]:
    return words.colors if topic == "colored-objects" else words.names


def _written(topic: str, value: str) -> str:
    return with_article(value) if topic == "colored-objects" else value


def _vocabulary(
    topic: str, templates: tuple[tuple[str, str], ...]
) -> Callable[[Words], Iterator[str]]:
    def vocabulary(words: Words) -> Iterator[str]:
        statements, questions = zip(*templates, strict=True)
        yield from blanked((*statements, *questions), "value", "thing")
        yield from (text.capitalize() for text in blanked(statements, "value", "thing"))
        yield from (_written(topic, value) for value in _values(topic, words))
        yield from (*words.nouns, ",", ".")

    return vocabulary


COLORED_OBJECTS, POSSESSIONS = (
    Generator(
        _draw(topic, templates),
        ("question", "values"),
        _vocabulary(topic, templates),
        lookup=True,
    )
    for topic, templates in (("colored-objects", COLORED), ("possession", POSSESSION))
)
