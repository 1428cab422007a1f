"""Entity tracking: what a box contains, after objects were put into boxes and moved.

In the form of the prompts of Prakash et al. (arXiv 2402.14811), with the moves of Kim
and Schuster (arXiv 2305.02363).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from circuit_transfer.generators.contract import Generator, PromptPair
from circuit_transfer.generators.twins import marked, twin_pair
from circuit_transfer.generators.words import Words

BOXES = 7
# From this number of options on there are all boxes, and up to so many moves.
FULL = 4
MOVES = 2
QUESTION, OBJECTS, LABELS, MOVE = "question", "objects", "labels", "move"


@dataclass(frozen=True)
class Scene:
    """What the statements of a prompt say.

    Attributes:
        placed: objects with their boxes, in the order of the statements.
        moves: objects with the boxes that they are moved from and to.
    """

    placed: tuple[tuple[str, str], ...]
    moves: tuple[tuple[str, str, str], ...] = ()

    def boxes(self) -> dict[str, str]:
        """Return the box of every object after all moves."""
        return {**dict(self.placed), **{thing: to for thing, _, to in self.moves}}

    def exchanged(self, one: str, other: str) -> "Scene":
        """Return the scene in which two objects have changed places."""
        names = {one: other, other: one}
        return Scene(
            tuple((names.get(thing, thing), box) for thing, box in self.placed),
            tuple((names.get(thing, thing), *boxes) for thing, *boxes in self.moves),
        )

    def relabelled(self, one: str, other: str) -> "Scene":
        """Return the scene in which two boxes have exchanged their labels."""
        names = {one: other, other: one}

        def label(box: str) -> str:
            return names.get(box, box)

        return Scene(
            tuple((thing, label(box)) for thing, box in self.placed),
            tuple((thing, *map(label, boxes)) for thing, *boxes in self.moves),
        )

    def with_last_moved(self, thing: str) -> "Scene":
        """Return the scene in which the last move is that of another object."""
        *before, (_, _, to) = self.moves
        earlier = Scene(self.placed, tuple(before))
        return Scene(self.placed, (*before, (thing, earlier.boxes()[thing], to)))


def _draw(
    rng: Random, words: Words, *, counterfactual: str, options: int
) -> PromptPair:
    """Ask for the content of one of the boxes.

    There are seven boxes and up to two moves. With moves one of the boxes is empty, and
    every move is into the box that is; so no box ever contains two objects. With fewer
    than four options there are as many objects as options, and no moves unless the
    counterfactual needs one.

    The counterfactual `question` asks for another box; in `objects` the right object
    has changed places with another one; in `labels` two boxes have exchanged their
    labels, so that the same question is about the other one; in `move` another object
    was moved last, into the box of the question.
    """
    fewest = int(counterfactual == MOVE)
    moves = rng.randint(fewest, MOVES if options >= FULL else fewest)
    objects = options if options < FULL else BOXES - bool(moves)
    scene = _scene(rng, words, objects, moves)
    asked, other = rng.sample([thing for thing, _ in scene.placed], 2)
    # As often as not the last move decides.
    if scene.moves and (counterfactual == MOVE or rng.random() < 0.5):
        asked, other = _last_moved_first(scene, asked, other)
    changed = {
        QUESTION: lambda: (scene, other),
        OBJECTS: lambda: (scene.exchanged(asked, other), other),
        LABELS: lambda: (_relabelled(scene, asked, other), other),
        MOVE: lambda: (scene.with_last_moved(other), other),
    }
    things, boxes = zip(*scene.placed, strict=True)
    return twin_pair(
        _ask,
        (scene, asked),
        changed[counterfactual](),
        *("entity-tracking", *sorted(things), *sorted(boxes)),
    )


def _scene(rng: Random, words: Words, objects: int, moves: int) -> Scene:
    """Return a scene with an object in every box and, with moves, an empty box."""
    labels = rng.sample(words.letters[:BOXES], objects + bool(moves))
    things = rng.sample(_things(words), objects)
    placed = tuple(zip(things, labels, strict=False))
    where, empty, done = dict(placed), labels[-1], []
    for _ in range(moves):
        thing = rng.choice(things)
        done.append((thing, where[thing], empty))
        where[thing], empty = empty, where[thing]
    return Scene(placed, tuple(done))


def _relabelled(scene: Scene, asked: str, other: str) -> Scene:
    """Return the scene in which the boxes of two objects have each other's label."""
    boxes = scene.boxes()
    return scene.relabelled(boxes[asked], boxes[other])


def _last_moved_first(scene: Scene, asked: str, other: str) -> tuple[str, str]:
    """Return the object that was moved last, and one of two that is another one."""
    last = scene.moves[-1][0]
    return last, asked if other == last else other


def _ask(case: tuple[Scene, str]) -> tuple[str, str]:
    """Return the prompt whose answer is an object of a scene, and this object.

    Marked are, where the object was last put into its box, the `object` and its `box`,
    and the box in the question, `query`.
    """
    scene, asked = case
    put = [thing for thing, *_ in (*scene.placed, *scene.moves)]
    last = len(put) - 1 - put[::-1].index(asked)

    def shown(number: int, name: str, text: str) -> str:
        return marked(name, text) if number == last else text

    statements = ", ".join(
        f"the {shown(number, 'object', thing)} is in Box {shown(number, 'box', box)}"
        for number, (thing, box) in enumerate(scene.placed)
    )
    moves = "".join(
        f" Move the {shown(number, 'object', thing)} from Box {source} to Box "
        f"{shown(number, 'box', box)}."
        for number, (thing, source, box) in enumerate(scene.moves, len(scene.placed))
    )
    query = marked("query", scene.boxes()[asked])
    return f"T{statements[1:]}.{moves} Box {query} contains the", asked


def _things(words: Words) -> list[str]:
    """Return the objects, without that which is a box itself."""
    return [thing for thing in (*words.objects, *words.nouns) if thing != "box"]


def _vocabulary(words: Words) -> Iterator[str]:
    yield "The the is in Box, Box contains. Move from to"
    yield from (*words.letters[:BOXES], *_things(words))


ENTITY_TRACKING = Generator(
    _draw, (QUESTION, OBJECTS, LABELS, MOVE), _vocabulary, lookup=True
)
