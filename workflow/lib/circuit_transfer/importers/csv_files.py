"""Read the rows of CSV files, as spreadsheets and programs write them."""

import csv
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from circuit_transfer.importers.files import read_lines, suffix
from circuit_transfer.messages import quoted

# What may separate cells. Spreadsheets write semicolons where the comma is the decimal
# point.
SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}
# A first line for Excel, with the separator.
STATED = re.compile(r"sep=(.)\s*", re.I | re.S)

Record = tuple[int, list[str]]


def read_csv(path: Path) -> tuple[list[str], Iterator[Record]]:
    """Return the header of a CSV file and its records, with their numbers from 1.

    Cells are separated by what gives the header most cells. Blank lines are counted,
    but are no records.

    Raises:
        ValueError: The file has no header, is not UTF-8, or has a record that is not
            CSV or has another number of cells; names the line or the row.
    """
    lines = read_lines(path)
    first, before = next(lines, ""), 0
    if stated := STATED.fullmatch(first):
        first, before = next(lines, ""), 1
    if not first.strip():
        raise ValueError(f"{path}: not a readable CSV file (the first line is empty)")
    if first.lstrip()[0] in "{[":
        raise ValueError(
            f"{path}: not a CSV file but, by its first line, JSON: its name must end "
            "in .jsonl for one object a line, or in .json for a list of objects"
        )
    separator = stated[1] if stated else _separator(path, first)
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True)
    # By default prompts of more than 131,072 characters are refused.
    csv.field_size_limit(sys.maxsize)
    records = _records(path, reader, before)
    header = next(records)
    return header, _numbered(path, header, records, separator)


def _separator(path: Path, header: str) -> str:
    def cells(separator: str) -> int:
        return len(next(csv.reader([header], delimiter=separator)))

    return max(SEPARATORS[suffix(path)], key=cells)


def _records(path: Path, reader, before: int) -> Iterator[list[str]]:
    while True:
        line = before + reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{path}: not a readable CSV file (line {line}: {quoted(error)}: a "
                "text that begins with a quote must end with one, and quotes within it "
                "must be doubled)"
            ) from error


def _numbered(
    path: Path, header: list[str], records: Iterator[list[str]], separator: str
) -> Iterator[Record]:
    for number, cells in enumerate(records, start=1):
        if problem := _wrong_length(header, cells, separator):
            raise ValueError(
                f"{path}: not a readable CSV file (row {number} has {problem})"
            )
        if any(cell.strip() for cell in cells) or len(cells) > 1:
            yield number, cells


def _wrong_length(header: list[str], cells: list[str], separator: str) -> str | None:
    """Return what is wrong with the number of cells of a row, and the cure."""
    if len(cells) > len(header):
        return (
            f"{len(cells)} cells, the header {len(header)}: a text with {separator!r} "
            "needs quotes around it, without a space before them"
        )
    if len(cells) == 1 < len(header) and cells[0].strip():
        return (
            f"one cell, the header {len(header)}: expected cells that are separated by "
            f"{separator!r} as in the header"
        )
    return None
