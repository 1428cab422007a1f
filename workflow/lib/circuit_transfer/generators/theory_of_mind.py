"""Theory of mind: what a person believes a container contains, or that this is unknown.

In the form of CausalToM (Prakash et al., arXiv 2505.14685): two persons fill a
container each, and may see or not see what the other one does. Here a content may be
replaced later, noticed or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import blanked, marked, twin_pair
from circuit_transfer.generators.words import Words

RULE = "Answer unknown where a person has no belief."
SCENES = (
    "{first} and {second} work in a busy kitchen. {first} takes a closed {container} "
    "and fills it with {state}. Then {second} takes another closed {container_2} and "
    "fills it with {state_2}.",
    "{first} and {second} prepare a party. {first} fills a dark {container} with "
    "{state}. Then {second} fills another dark {container_2} with {state_2}.",
)
SIGHT = "{person} {can} see what {other} does."
CHANGE = (
    "Later {actor} replaces the {old} in the {container} with {new}. "
    "{other} {notices} the change."
)
ASKED = "Question: What does {person} believe the {container} contains? Answer:"
CAN = {True: "can", False: "cannot"}
NOTICES = {True: "notices", False: "misses"}
UNKNOWN = "unknown"
QUESTION, STATES, SIGHTS = "question", "states", "sight"
BOTH = (0, 1)


@dataclass(frozen=True)
class Change:
    """That a person replaces the content of a container, both by number."""

    actor: int
    container: int
    noticed: bool


@dataclass(frozen=True)
class Story:
    """Two persons who fill a container each.

    Attributes:
        scene: number of the scene.
        persons: their names.
        containers: what the first and the second person fill.
        states: with what, and a third content, which may replace one of the two.
        sees: whether each person sees what the other one does.
        change: that a content is replaced, if it is.
    """

    scene: int
    persons: tuple[str, ...]
    containers: tuple[str, ...]
    states: tuple[str, ...]
    sees: tuple[bool, bool]
    change: Change | None

    def belief(self, person: int, container: int) -> str:
        """Return what a person believes a container contains."""
        change = self.change
        changed = change is not None and change.container == container
        if changed and (change.noticed or change.actor == person):
            return self.states[2]
        if person == container or self.sees[person]:
            return self.states[container]
        return UNKNOWN


Question = tuple[int, int]  # person and container, by number


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """Ask what one of the persons believes one of the containers contains.

    Half of the stories have a change; with fewer than four options none has. The
    counterfactual `question` asks for another person or container; in `states` the
    right content and another one have changed places; in `sight` the asked person sees
    what was unseen or notices what was unnoticed, or the reverse.
    """
    while True:
        story = _story(rng, words, with_change=options >= 4 and rng.random() < 0.5)
        question = rng.choice(BOTH), rng.choice(BOTH)
        answer = story.belief(*question)
        others = [
            case
            for case in _changed(story, question, counterfactual)
            if case[0].belief(*case[1]) != answer
        ]
        # Not every question has such a counterfactual.
        if others:
            break
    return twin_pair(
        _ask,
        (story, question),
        rng.choice(others),
        *("theory-of-mind", str(story.scene)),
        *(*sorted(story.persons), *sorted(story.containers), *sorted(story.states)),
    )


def _story(rng: Random, words: Words, *, with_change: bool) -> Story:
    change = Change(rng.choice(BOTH), rng.choice(BOTH), rng.random() < 0.5)
    return Story(
        scene=rng.randrange(len(SCENES)),
        persons=tuple(rng.sample(words.names, 2)),
        containers=tuple(rng.sample(words.containers, 2)),
        states=tuple(rng.sample(words.drinks, 3)),
        sees=(rng.random() < 0.5, rng.random() < 0.5),
        change=change if with_change else None,
    )


def _changed(
    story: Story, question: Question, counterfactual: str
) -> list[tuple[Story, Question]]:
    """Return the cases that differ from a case as a counterfactual says."""
    if counterfactual == QUESTION:
        return [(story, other) for other in product(BOTH, BOTH)]
    if counterfactual == STATES:
        return [(other, question) for other in _with_exchanged_states(story)]
    person, container = question
    sees = tuple(sees ^ (each == person) for each, sees in enumerate(story.sees))
    cases = [(replace(story, sees=sees), question)]
    if story.change:
        change = replace(story.change, noticed=not story.change.noticed)
        cases.append((replace(story, change=change), question))
    return cases


def _with_exchanged_states(story: Story) -> list[Story]:
    """Return the stories in which two of the contents that they name are exchanged."""
    first, second, third = story.states
    orders = [(second, first, third)]
    if story.change:
        orders += [(third, second, first), (first, third, second)]
    return [replace(story, states=states) for states in orders]


def _ask(case: tuple[Story, Question]) -> tuple[str, str]:
    """Return the prompt of a case and its answer.

    Marked are the content that the person believes in where it comes into the container
    (`state`; if unknown, what fills it first), whether the person sees what the other
    one does (`sight`), and both in the question (`person`, `container`).
    """
    story, (person, container) = case
    answer = story.belief(person, container)
    states, can = [*story.states], [CAN[sees] for sees in story.sees]
    believed = 2 if answer == story.states[2] else container
    states[believed] = marked("state", states[believed])
    can[person] = marked("sight", can[person])
    names = {"first": story.persons[0], "second": story.persons[1]}
    filled = dict(zip(("container", "container_2"), story.containers, strict=True))
    texts = [
        RULE,
        SCENES[story.scene].format(
            **names, **filled, state=states[0], state_2=states[1]
        ),
        SIGHT.format(person=names["second"], can=can[1], other=names["first"]),
        SIGHT.format(person=names["first"], can=can[0], other=names["second"]),
        *([_change(story, states[2])] if story.change else []),
        ASKED.format(
            person=marked("person", story.persons[person]),
            container=marked("container", story.containers[container]),
        ),
    ]
    return " ".join(texts), answer


def _change(story: Story, new: str) -> str:
    change = story.change
    return CHANGE.format(
        actor=story.persons[change.actor],
        other=story.persons[1 - change.actor],
        container=story.containers[change.container],
        old=story.states[change.container],
        new=new,
        notices=NOTICES[change.noticed],
    )


def _vocabulary(words: Words) -> Iterator[str]:
    yield from blanked(
        (RULE, *SCENES, SIGHT, CHANGE, ASKED),
        *("first", "second", "container", "state", "container_2", "state_2"),
        *("person", "can", "other", "actor", "old", "new", "notices"),
    )
    yield from (*CAN.values(), *NOTICES.values(), UNKNOWN)
    yield from (*words.names, *words.containers, *words.drinks)


THEORY_OF_MIND = Generator(_draw, (QUESTION, STATES, SIGHTS), _vocabulary, lookup=True)
