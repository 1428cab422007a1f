"""Pairs from the stories about beliefs of CausalToM (arXiv 2505.14685)."""

import re
from typing import Any

from circuit_transfer.importers.rows import (
    Imported,
    Part,
    UnusableRow,
    as_integer,
    parse_rows,
    text,
    texts,
)
from circuit_transfer.importers.tables import Table
from circuit_transfer.messages import quoted

LISTS = ("characters", "objects", "states")
TEXTS = ("story", "question", "target", "prompt")
INDICES = ("character_idx", "object_idx")
COLUMNS = (*LISTS, *TEXTS, *INDICES)
UNKNOWN = "unknown"


def read_causal_tom(table: Table) -> Imported:
    """Read stories in which every character fills one object with one state.

    `prompt`, which contains `story` and `question`, is the clean prompt, `target` the
    answer. If it is a state, the corrupted prompt has another story: there this state
    and the next one of `states` have changed places, and the next one is the wrong
    answer. If it is `unknown`, the corrupted prompt asks the same character for the
    object that it has filled, whose state is the wrong answer. The first character
    fills the first object with the first state, and so on.

    Rows with the same characters, objects and states are in one split, by a hash of
    these. Rows that contradict themselves are rejected. `template_idx` is ignored.

    Raises:
        ValueError: The table lacks a column.
    """
    table.require(*COLUMNS)

    def part(extract) -> Part:
        return lambda cells: extract(_checked(cells, has_lists=table.has_lists))

    parts = {
        "clean": text("prompt"),
        "answers": part(lambda row: (f" {row['target']}",)),
        "corrupted": part(lambda row: _corrupted(row)[0]),
        "wrong_answers": part(lambda row: (f" {_corrupted(row)[1]}",)),
        "group": part(_group),
    }
    return parse_rows(table.rows, parts, str(table.path)).frames()


def is_causal_tom(table: Table) -> bool:
    """Return whether a table has the columns that `read_causal_tom` needs."""
    return table.lacks(*COLUMNS) is None


def _group(row: dict[str, Any]) -> str:
    return "/".join((*row["characters"], *row["objects"], *sorted(row["states"])))


def _checked(cells: dict[str, Any], *, has_lists: bool) -> dict[str, Any]:
    """Return the cells of a row with their types, after checking that they agree."""
    row = {name: texts(name, has_lists=has_lists)(cells) for name in LISTS}
    row |= {name: text(name)(cells) for name in TEXTS}
    row |= {"character": _chosen(cells, row, *("character_idx", "characters"))}
    row |= {"object": _chosen(cells, row, *("object_idx", "objects"))}
    for part in ("story", "question"):
        if not row[part].strip() or row[part].strip() not in row["prompt"]:
            raise UnusableRow(f"prompt: expected a text that contains the {part}")
    for part in ("character", "object"):
        if not _named(row[part]).search(row["question"]):
            raise UnusableRow(
                f"question: expected one with the {part} {quoted(repr(row[part]))}"
            )
    # Of the filled object, or of none.
    place = row["objects"].index(row["object"])
    expected = [*row["states"][place : place + 1], UNKNOWN]
    if row["target"] not in expected:
        raise UnusableRow(
            f"target: expected one of {quoted(expected)}, found "
            f"{quoted(repr(row['target']))}"
        )
    return row


def _chosen(
    cells: dict[str, Any], row: dict[str, Any], column: str, of_list: str
) -> str:
    """Return the text of a list whose index, from 0, a column has."""
    found = cells.get(column)
    # CSV has no numbers.
    shown = str(found)
    index = int(shown) if shown.isdecimal() and len(shown) < 10 else as_integer(found)
    if index is None or not 0 <= index < len(row[of_list]):
        raise UnusableRow(
            f"{column}: expected the index of one of {len(row[of_list])} {of_list}, "
            f"found {quoted(repr(found))}"
        )
    return row[of_list][index]


def _corrupted(row: dict[str, Any]) -> tuple[str, str]:
    """Return the corrupted prompt of a row and its answer."""
    if row["target"] == UNKNOWN:
        return _with_own_object(row)
    states = row["states"]
    other = states[(states.index(row["target"]) + 1) % len(states)]
    story = row["story"].strip()
    exchanged = _exchanged(story, row["target"], other)
    if exchanged == story or other == row["target"]:
        raise UnusableRow("states: expected two that are in the story")
    return row["prompt"].replace(story, exchanged), other


def _with_own_object(row: dict[str, Any]) -> tuple[str, str]:
    """Return the prompt that asks a character for what it has filled itself."""
    place = row["characters"].index(row["character"])
    own = [row[name][place : place + 1] for name in ("objects", "states")]
    if not all(own):
        raise UnusableRow(f"character_idx: no object and state of number {place}")
    (thing,), (state,) = own
    question = row["question"].strip()
    asked = _named(row["object"]).sub(lambda _: thing, question)
    if asked == question:
        raise UnusableRow(
            f"target: {UNKNOWN!r}, but {quoted(repr(row['character']))} has filled "
            f"{quoted(repr(thing))}"
        )
    return row["prompt"].replace(question, asked), state


def _exchanged(story: str, one: str, other: str) -> str:
    """Return a story in which two states have changed places."""
    both = {one: other, other: one}
    pattern = "|".join(_named(each).pattern for each in sorted(both, key=len)[::-1])
    return re.sub(pattern, lambda found: both[found[0]], story)


def _named(words: str) -> re.Pattern:
    """Return a pattern of some words that are not parts of longer ones."""
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
