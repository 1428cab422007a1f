"""Numbers, intervals, lists and plurals, as sentences show them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from circuit_transfer.tables.typesetting import EMPTY, rounded

# Names that a sentence lists; of more, it gives the number.
LISTED = 4


class Answer(NamedTuple):
    """What a question is answered by.

    Attributes:
        lead: the answer, in a sentence or two.
        details: the numbers and tests behind it.
    """

    lead: str
    details: str = ""


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number as tables show it, or `-` where there is none."""
    return EMPTY if value is None else rounded(value, decimals)


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """Return a value of a row and its interval, in brackets where it has one.

    Args:
        row: with the columns `name`, `{name}_low` and `{name}_high`.
        name: of the value.
    """
    return bracketed(row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high"))


def bracketed(
    value: float | None, low: float | None, high: float | None, decimals: int = 2
) -> str:
    """Return a value and its interval, in brackets where it has one."""
    shown, *ends = (number(each, decimals) for each in (value, low, high))
    if low is None or high is None:
        return shown
    return f"{shown} [{', '.join(ends)}]"


def p_value(value: float) -> str:
    """Return a p value with its sign of comparison."""
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as in `1 task` and `2 tasks`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def all_tasks(count: int) -> str:
    """Return the words for all of several tasks."""
    return "both tasks" if count == 2 else f"all {count:,} tasks"


def joined(parts: Sequence[str]) -> str:
    """Return parts as one list, as in `a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def listed(names: Sequence[str], noun: str = "") -> str:
    """Return names as one list, of many the first and how many more there are."""
    if len(names) <= LISTED + 1:
        return joined(names)
    rest = f"{len(names) - LISTED:,} more {noun}".rstrip()
    return f"{', '.join(names[:LISTED])} and {rest}"


def percent(share: float) -> str:
    """Return a share in percent, such that only all is 100 and only nothing is 0."""
    whole = round(100 * share)
    if whole == 100 and share < 1:
        return "over 99 %"
    return "under 1 %" if whole == 0 and share > 0 else f"{whole} %"
