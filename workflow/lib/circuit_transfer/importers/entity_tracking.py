"""Pairs from sentences about boxes and what they contain (arXiv 2402.14811)."""

import re
from dataclasses import dataclass
from typing import Any

from circuit_transfer.importers.rows import (
    Imported,
    UnusableRow,
    as_text,
    parse_rows,
)
from circuit_transfer.importers.tables import Row, Table
from circuit_transfer.messages import quoted

COLUMN = "sentence"
WORD = r"[^\s,.]+"
# The article of the question is part of the prompt.
SENTENCE = re.compile(
    rf"(?P<story>.+\.)\s+Box (?P<box>{WORD}) (?P<verb>contains(?: the)?) "
    rf"(?P<thing>{WORD})",
    re.S,
)
PLACED = re.compile(
    rf"(?P<the>[Tt]he )?(?P<thing>{WORD}) is in Box (?P<box>{WORD})"
    rf"|Box (?P<box_2>{WORD}) contains (?:the )?(?P<thing_2>{WORD})"
)
MOVED = re.compile(
    rf"Move the (?P<thing>{WORD}) from Box (?P<source>{WORD}) to Box (?P<box>{WORD})"
)
EMPTY = "nothing"

# What the boxes contain, in the order in which the story names them.
Boxes = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """A story about boxes, the box of its question and another one."""

    story: str
    verb: str
    box: str
    thing: str
    other_box: str
    other_thing: str

    def prompt(self, box: str) -> str:
        """Return the prompt that asks for a box."""
        return f"{self.story} Box {box} {self.verb}"


def read_entity_tracking(table: Table) -> Imported:
    """Read sentences such as `The hat is in Box A, .... Box A contains the hat`.

    The last word is the answer, what precedes it the clean prompt; a full stop may end
    the sentence. The statements may also be `Box A contains the hat` or `Box A contains
    nothing`, with or without articles, and moves may follow them: `Move the hat from
    Box A to Box B.` The corrupted prompt asks for another box: after the asked one, the
    next in the order of the story that contains a single other thing, which is the
    wrong answer. Rows with the same story are in one split, by a hash of the story.

    Rows whose last word is not what the box contains by the story, or whose story says
    anything else, are rejected. Other columns are ignored.

    Raises:
        ValueError: The table lacks the column.
    """
    table.require(COLUMN)
    parts = {
        "clean": lambda cells: (case := _case(cells)).prompt(case.box),
        "corrupted": lambda cells: (case := _case(cells)).prompt(case.other_box),
        "answers": lambda cells: (f" {_case(cells).thing}",),
        "wrong_answers": lambda cells: (f" {_case(cells).other_thing}",),
        "group": lambda cells: _case(cells).story,
    }
    return parse_rows(table.rows, parts, str(table.path)).frames()


def has_boxes(table: Table) -> bool:
    """Return whether any row has a sentence that `read_entity_tracking` reads."""
    return table.lacks(COLUMN) is None and any(map(_is_about_a_box, table.rows))


def _is_about_a_box(row: Row) -> bool:
    sentence = row.cells.get(COLUMN)
    return isinstance(sentence, str) and _split(sentence) is not None


def _split(sentence: str) -> re.Match | None:
    return SENTENCE.fullmatch(sentence.strip().removesuffix(".").rstrip())


def _case(cells: dict[str, Any]) -> Case:
    found = _split(as_text(cells.get(COLUMN), COLUMN))
    if not found:
        raise UnusableRow(
            f"{COLUMN}: expected statements about boxes and, at the end, such as Box A "
            f"contains the hat, found {quoted(repr(cells[COLUMN]))}"
        )
    story, verb, box, thing = found.group("story", "verb", "box", "thing")
    boxes = _boxes(story)
    if _content(boxes.get(box)) != thing:
        raise UnusableRow(
            f"{COLUMN}: ends with {quoted(repr(thing))}, but by its statements Box "
            f"{quoted(box)} contains {quoted(repr(boxes.get(box, 'what is not said')))}"
        )
    return Case(story, verb, box, thing, *_other(boxes, box, verb))


def _other(boxes: Boxes, asked: str, verb: str) -> tuple[str, str]:
    """Return the next box with another content that can follow `verb`, and this."""
    place = [*boxes].index(asked)
    for box in (*[*boxes][place + 1 :], *[*boxes][:place]):
        thing = _content(boxes[box])
        sayable = thing is not None and not (thing == EMPTY and verb.endswith("the"))
        if sayable and thing != _content(boxes[asked]):
            return box, thing
    raise UnusableRow(f"{COLUMN}: no other box with a single other content")


def _content(things: list[str] | None) -> str | None:
    """Return what a box contains if this is one word, or None."""
    if things is None or len(things) > 1:
        return None
    return things[0] if things else EMPTY


def _boxes(story: str) -> Boxes:
    """Return what the boxes contain after all statements and moves.

    Raises:
        UnusableRow: A part of the story is not one of these.
    """
    statements, *moves = re.split(r"\.\s+", story.removesuffix("."))
    boxes: Boxes = {}
    for statement in re.split(r",\s*", statements):
        found = _read(PLACED, statement, "the hat is in Box A")
        thing = found["thing"] or found["thing_2"]
        # Without an article the first word of the story has a capital letter.
        thing = thing if found["the"] or found["thing_2"] else thing.lower()
        things = boxes.setdefault(found["box"] or found["box_2"], [])
        things += [] if thing == EMPTY else [thing]
    for move in moves:
        found = _read(MOVED, move, "Move the hat from Box A to Box B")
        if found["thing"] not in boxes.get(found["source"], []):
            raise UnusableRow(
                f"{COLUMN}: {quoted(repr(move))}, but the object is not in this box"
            )
        boxes[found["source"]].remove(found["thing"])
        boxes.setdefault(found["box"], []).append(found["thing"])
    return boxes


def _read(pattern: re.Pattern, text: str, example: str) -> re.Match:
    found = pattern.fullmatch(text)
    if not found:
        raise UnusableRow(
            f"{COLUMN}: expected such as {example!r}, found {quoted(repr(text))}"
        )
    return found
