"""Read the rows of JSON Lines, and of JSON files with a list of objects."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from circuit_transfer.importers.files import read_lines
from circuit_transfer.messages import quoted

# Of JSON files with more characters only the first rows are parsed where these suffice.
LONG = 4_000_000
LIST_START = re.compile(r'\s*(\{.*?"prompts"\s*:\s*)?\[', re.S)

Record = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class JsonRows:
    """The objects of a JSON file with their numbers, and whether they are `prompts`.

    Auto-circuit has them in a list named `prompts`, others in a list without a name.
    """

    records: list[Record]
    are_prompts: bool = False


def read_jsonl(path: Path) -> Iterator[Record]:
    """Return the objects of a JSON Lines file with the numbers of their lines.

    Raises:
        ValueError: A line is not UTF-8, or not a JSON object; names the line.
    """
    for number, line in enumerate(read_lines(path, "row"), start=1):
        if not (line := line.strip()):
            continue
        try:
            cells = json.loads(line)
        # ValueError, since numbers of too many digits raise no JSONDecodeError.
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}: row {number}: not JSON ({quoted(error)}); expected one JSON "
                f"object a line{_list_hint(line)}"
            ) from error
        if not isinstance(cells, dict):
            raise ValueError(
                f"{path}: row {number}: expected an object, found "
                f"{quoted(line)}{_list_hint(line)}"
            )
        yield number, cells


def _list_hint(line: str) -> str:
    return "; a list of objects is a file of type .json" if line[0] == "[" else ""


def read_json(path: Path, head: int | None = None) -> JsonRows:
    """Read a JSON file: a list of objects, `{"prompts": [...]}`, or JSON Lines.

    Args:
        path: the file.
        head: how many of its first objects suffice; all by default.

    Raises:
        ValueError: The file is not UTF-8, not JSON, or has another structure; names the
            line or the row.
    """
    text, is_whole = _text(path, LONG if head else None)
    if not is_whole and (start := LIST_START.match(text)):
        found = _first_values(text, start.end(), head)
        return JsonRows(_numbered(path, found), bool(start[1]))
    if _is_lines(text):
        return JsonRows([*islice(read_jsonl(path), head)])
    return _whole(path, _parsed(path, text if is_whole else _text(path)[0]))


def _text(path: Path, longest: int | None = None) -> tuple[str, bool]:
    """Return the text of a file, or its first lines, and whether it surely is all."""
    lines, length = [], 0
    for line in read_lines(path):
        lines.append(line)
        length += len(line)
        if longest and length > longest:
            return "".join(lines), False
    return "".join(lines), True


def _is_lines(text: str) -> bool:
    """Return whether a text has more than its first object, as JSON Lines have."""
    text = text.lstrip()
    try:
        found, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and bool(text[end:].strip())


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ValueError(f"{path}: line {line}: not JSON ({quoted(error)})") from error


def _whole(path: Path, content: Any) -> JsonRows:
    if isinstance(content, list):
        return JsonRows(_numbered(path, content))
    prompts = content.get("prompts") if isinstance(content, dict) else None
    if isinstance(prompts, list):
        # What is no object is rejected with the other rows of auto-circuit.
        cells = (each if isinstance(each, dict) else {} for each in prompts)
        return JsonRows([*enumerate(cells, start=1)], are_prompts=True)
    if isinstance(content, dict) and isinstance(content.get("clean"), str):
        return JsonRows([(1, content)])
    raise ValueError(
        f"{path}: expected an object with a list named prompts, a list of objects, or "
        "JSON Lines (pandas: `to_json(path, orient='records')`)"
    )


def _numbered(path: Path, values: list) -> list[Record]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise ValueError(
                f"{path}: row {number}: expected an object, found {quoted(value)}"
            )
    return [*enumerate(values, start=1)]


def _first_values(text: str, start: int, count: int) -> list:
    """Return the first values of a list in JSON, as far as they can be parsed."""
    values, decoder, between = [], json.JSONDecoder(), re.compile(r"[\s,]*")
    while len(values) < count:
        try:
            start = between.match(text, start).end()
            value, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        values.append(value)
    return values
