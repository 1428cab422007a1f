"""How messages quote what was found in files and configurations of other people."""

from typing import Any

LONGEST = 300


def quoted(found: Any, longest: int = LONGEST) -> str:
    """Return what was found as a message can hold it.

    On one line; with escapes in place of control characters, which a terminal obeys,
    and of marks that turn the direction of a text around; cut where it is long.
    """
    text = str(found)
    line = " ".join(text[: 2 * longest].split())
    shown = printable(line[:longest])
    return shown if len(line) <= longest and len(text) <= longest else f"{shown}..."


def printable(text: str) -> str:
    """Return a text with escapes in place of all letters that cannot be shown."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def in_one_line(error: Exception) -> str:
    """Return the kind of an error and what it says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
