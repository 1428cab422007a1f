"""Lists of texts that are written as text, since CSV has no lists."""

import ast
import json
import re
from typing import Any

from circuit_transfer.messages import quoted

# A list as JSON and Python write it. Texts without commas between them, as NumPy writes
# them, would be one text to Python.
TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
LIST = re.compile(rf"\[\s*{TEXT}(?:\s*,\s*{TEXT})*\s*,?\s*\]", re.S)
# The beginning of a list, well-formed or not: of texts, of numbers, of several, or of
# none. Other texts in brackets, as [MASK], are texts.
LIKE_A_LIST = re.compile(r"""\s*\[\s*[bfru]?["']|\[(?:[^,]*,|\s*-?\d|\s*\])""")


def parsed_list(cell: Any) -> Any:
    """Return the texts of a list that is written as text, and any other cell as it is.

    Args:
        cell: a cell of a CSV file, such as `["a", "b"]` or `['a', 'b']`.

    Raises:
        ValueError: The cell looks like a list but is no list of texts.
    """
    if not isinstance(cell, str) or not LIKE_A_LIST.match(cell):
        return cell
    texts = _texts(cell)
    if texts is None:
        raise ValueError(
            'expected a text, or a list of texts such as ["a", "b"] and nothing '
            f"around it, found {quoted(cell)}; a text that looks like a list needs "
            "JSON Lines"
        )
    return texts


def _texts(cell: str) -> list[str] | None:
    if not LIST.fullmatch(cell):
        return None
    # JSON first: its escapes for characters beyond 16 bits are two for Python.
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None
