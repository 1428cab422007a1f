"""Why rows are rejected, by kind: reasons that differ in what they quote are one."""

import re
from collections import Counter
from collections.abc import Iterable

# A quoted text in full, or cut short by `messages.quoted`; not the apostrophe of a
# possessive.
QUOTED = re.compile(
    r"""(?<!\w)(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|['"].*?\.\.\.)(?!\w)"""
)
# A value that was found instead of the expected one; None is a missing one.
FOUND = re.compile(r"\bfound (?!None\b)[^;]+")
NUMBER = re.compile(r"\d+")


def kind_of(reason: str) -> str:
    """Return a reason without the words and numbers of its row.

    Quoted texts and values are replaced by `...`, numbers by N.
    """
    unquoted = FOUND.sub("found ...", QUOTED.sub("'...'", reason))
    return NUMBER.sub("N", unquoted)


def count_kinds(reasons: Iterable[str]) -> list[tuple[str, int, str]]:
    """Return every kind of reason with its number of rows and its first reason.

    The most frequent kind is first.
    """
    counts, first = Counter(), {}
    for reason in reasons:
        kind = kind_of(reason)
        counts[kind] += 1
        first.setdefault(kind, reason)
    return [(kind, rows, first[kind]) for kind, rows in counts.most_common()]


def described_kinds(reasons: Iterable[str]) -> list[str]:
    """Return a line for every kind of reason: how many rows, and the first reason."""
    return [
        f"{rows} rejected{', such as' if rows > 1 and reason != kind else ''}: {reason}"
        for kind, rows, reason in count_kinds(reasons)
    ]
