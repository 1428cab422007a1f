"""Read the rows of JSON Lines, CSV and Parquet files, locating errors by row."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.messages import quoted

# Deepest nesting of values; the files of MIB have four levels.
DEEPEST = 10
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What separates cells: the first of these that the header has. Spreadsheets write
# semicolons where the comma is the decimal point.
SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;"}


@dataclass(frozen=True)
class Row:
    """The cells of a row by column, and the number of the row in its file, from 1.

    The number is that of the line in JSON Lines, and of the record in other files.
    """

    number: int
    cells: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """All rows of a file, and the columns that at least one row has."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def has_lists(self) -> bool:
        """Whether a cell may be a list; in CSV it can only be written as text."""
        return suffix(self.path) not in SEPARATORS

    def require(self, *columns: str) -> None:
        """Check that columns exist.

        Raises:
            ValueError: Columns are missing.
        """
        missing = [column for column in columns if column not in self.columns]
        if missing:
            found = quoted([*self.columns], 1000)
            raise ValueError(f"{self.path}: no column {missing}, only {found}")


def read_table(path: Path | str, suffixes: tuple[str, ...] = ()) -> Table:
    """Read a file of type `.jsonl`, `.csv`, `.tsv` or `.parquet`.

    Args:
        path: the file.
        suffixes: the accepted types, by default all four.

    Raises:
        ValueError: The file is missing, of another type or damaged; names the file and,
            where possible, the row.
    """
    path = Path(path)
    check_file(path, suffixes or tuple(READERS))
    return READERS[suffix(path)](path)


def read_json(path: Path | str) -> Any:
    """Read a `.json` file as one value.

    Raises:
        ValueError: The file is missing, of another type or damaged; names the line.
    """
    path = Path(path)
    check_file(path, (".json",))
    text = _decoded(path, _content(path), 1, "line")
    try:
        return json.loads(text)
    # ValueError, since numbers of too many digits raise no JSONDecodeError.
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ValueError(f"{path}: line {line}: not JSON ({error})") from error


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Check that a file exists and has an accepted suffix, in letters of any case.

    Raises:
        ValueError: The file does not exist, or has another suffix.
    """
    if suffix(path) not in suffixes:
        raise ValueError(f"{path}: expected a file of type {', '.join(suffixes)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def suffix(path: Path | str) -> str:
    """Return the type of a file by its name, in lower-case letters."""
    return Path(path).suffix.lower()


def _read_jsonl(path: Path) -> Table:
    rows = tuple(_objects(path))
    columns = dict.fromkeys(key for row in rows for key in row.cells)
    return Table(path, tuple(columns), rows)


def _objects(path: Path) -> Iterator[Row]:
    # Only a line feed ends a row: JSON strings may contain other line separators.
    for number, content in enumerate(_content(path).split(b"\n"), start=1):
        line = _decoded(path, content, number, "row").strip()
        if not line:
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: row {number}: not JSON ({error})") from error
        if not isinstance(cells, dict):
            raise ValueError(
                f"{path}: row {number}: expected an object, found {quoted(line)}"
            )
        yield Row(number, cells)


def _read_csv(path: Path) -> Table:
    content = _content(path)
    text = _decoded(path, content, 1, "line")
    known, header = SEPARATORS[suffix(path)], text.partition("\n")[0]
    separator = next((each for each in known if each in header), known[0])
    try:
        frame = pl.read_csv(
            content,
            separator=separator,
            infer_schema=False,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError as error:
        reason = _too_long_row(text, separator) or quoted(error)
        raise ValueError(f"{path}: not a readable CSV file ({reason})") from error
    return _from_frame(path, frame)


def _too_long_row(text: str, separator: str) -> str | None:
    """Return which row has more cells than the header, and why it may, if one has."""
    try:
        header, *rows = csv.reader(StringIO(text, newline=""), delimiter=separator)
    except (csv.Error, ValueError):
        return None
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            return (
                f"row {number} has {len(row)} cells, the header {len(header)}: a text "
                f"with {separator!r} needs quotes around it"
            )
    return None


def _read_parquet(path: Path) -> Table:
    try:
        frame = pl.read_parquet(path)
    # The reader panics if the pages of the file are damaged.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = quoted(error)
        raise ValueError(f"{path}: not a readable Parquet file ({reason})") from error
    for column, dtype in frame.schema.items():
        # The time that Polars takes to build rows doubles with every level.
        if (depth := _nesting(dtype)) > DEEPEST:
            raise ValueError(
                f"{path}: column {quoted(repr(column))}: {depth} levels of nested "
                f"values, expected at most {DEEPEST}"
            )
    return _from_frame(path, frame)


READERS = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _from_frame(path: Path, frame: pl.DataFrame) -> Table:
    rows = enumerate(frame.iter_rows(named=True), start=1)
    return Table(path, tuple(frame.columns), tuple(Row(*row) for row in rows))


def _nesting(dtype: pl.DataType) -> int:
    if isinstance(dtype, pl.Struct):
        inner = [field.dtype for field in dtype.fields]
    else:
        inner = [dtype.inner] if isinstance(dtype, pl.List | pl.Array) else []
    return 1 + max(map(_nesting, inner), default=0)


def _content(path: Path) -> bytes:
    return path.read_bytes().removeprefix(BYTE_ORDER_MARK)


def _decoded(path: Path, content: bytes, first: int, unit: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = first + content.count(b"\n", 0, error.start)
        raise ValueError(f"{path}: {unit} {number}: not UTF-8 ({error})") from error
