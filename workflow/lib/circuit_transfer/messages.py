"""Quote the content of files and configurations safely in messages."""

from collections.abc import Sequence
from typing import Any

LONGEST = 300
# Names of a list that are given in full.
GIVEN = 3


def quoted(found: Any, longest: int = LONGEST) -> str:
    """Return a value as text that is safe to print in a message.

    On one line, truncated to `longest` characters; control characters, which a terminal
    would execute, and marks that change the direction of text are escaped.
    """
    text = str(found)
    line = " ".join(text[: 2 * longest].split())
    shown = printable(line[:longest])
    return shown if len(line) <= longest and len(text) <= longest else f"{shown}..."


def printable(text: str) -> str:
    """Return a text in which all characters that are not printable are escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def in_one_line(error: Exception) -> str:
    """Return the type and the message of an error, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def some(names: Sequence[str]) -> str:
    """Return the first names of a list, quoted, and how many more there are."""
    given = ", ".join(quoted(name) for name in names[:GIVEN])
    more = len(names) - GIVEN
    return f"{given} and {more:,} more" if more > 0 else given
