"""Text files in UTF-8, and JSON files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import atomic


def write_json(value: Any, path: Path | str) -> None:
    """Write a value as indented JSON."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not valid JSON, or not UTF-8.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def write_text(text: str, path: Path | str) -> None:
    """Write a text file in UTF-8."""
    write_parts([text], path)


def write_parts(parts: Iterable[str], path: Path | str) -> None:
    """Write a text file in UTF-8 part by part, so that a large one needs no memory."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(parts)
