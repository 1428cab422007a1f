"""JSON files whose large objects are read one entry at a time."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.decoder import scanstring
from pathlib import Path
from typing import Any

Entries = Iterable[tuple[str, Any]]

SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


def read_json_entries(
    path: Path | str, reduced: Mapping[str, Callable[[Entries], Any]]
) -> Any:
    """Read a JSON file, some members of whose outermost object may be large objects.

    As Python objects the 1.6 million edges of a large model would need a gigabyte.

    Args:
        path: the file.
        reduced: by the key of such a member, what takes its entries, which are parsed
            one at a time, and returns the value in their place. It takes every entry
            and raises nothing.

    Raises:
        ValueError: the file is not valid JSON, or not UTF-8.
    """
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"), reduced)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def _parsed(text: str, reduced: Mapping[str, Callable[[Entries], Any]]) -> Any:
    start = _after_space(text, 0)
    if text[start : start + 1] != "{":
        return json.loads(text)
    members = _Object(text, start, reduced)
    found = dict(members)
    if (end := _after_space(text, members.end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return found


class _Object:
    """The entries of an object, parsed one at a time.

    Attributes:
        end: where it ends in the text, once all entries have been taken.
    """

    def __init__(
        self,
        text: str,
        start: int,
        reduced: Mapping[str, Callable[[Entries], Any]],
    ) -> None:
        self._text, self._start, self._reduced = text, start, reduced
        self.end = start

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        text, position = self._text, _after_space(self._text, self._start + 1)
        if text[position : position + 1] == "}":
            self.end = position + 1
            return
        while True:
            # The messages are those of `json`.
            if text[position : position + 1] != '"':
                message = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(message, text, position)
            key, position = scanstring(text, position + 1)
            position = _after(text, position, ":")
            value, position = self._value(key, position)
            yield key, value
            position = _after_space(text, position)
            if text[position : position + 1] == "}":
                self.end = position + 1
                return
            position = _after(text, position, ",")

    def _value(self, key: str, position: int) -> tuple[Any, int]:
        if key not in self._reduced or self._text[position : position + 1] != "{":
            return DECODER.raw_decode(self._text, position)
        entries = _Object(self._text, position, {})
        return self._reduced[key](entries), entries.end


def _after_space(text: str, position: int) -> int:
    return SPACE.match(text, position).end()


def _after(text: str, position: int, mark: str) -> int:
    """Return the position after a mark and the space around it."""
    position = _after_space(text, position)
    if text[position : position + 1] != mark:
        raise json.JSONDecodeError(f"Expecting {mark!r} delimiter", text, position)
    return _after_space(text, position + 1)
