"""The rows of data files of every type, with errors located by row."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.importers.csv_files import SEPARATORS, read_csv
from circuit_transfer.importers.files import (
    check_file,
    check_signature,
    is_packed,
    suffix,
)
from circuit_transfer.importers.json_files import read_json, read_jsonl
from circuit_transfer.messages import quoted

# Deepest nesting of values; the files of MIB have four levels.
DEEPEST = 10
# Longest signature of another type of file, in bytes.
SIGNATURE = 100

Records = Iterator[tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Row:
    """The cells of a row by column, and the number of the row in its file, from 1.

    The number is that of the line in JSON Lines, and of the record in other files.
    """

    number: int
    cells: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        path: the file.
        columns: the columns that at least one row has.
        rows: all rows, or the first ones.
        are_prompts: whether they are the list `prompts` of a JSON object.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    are_prompts: bool = False

    @property
    def has_lists(self) -> bool:
        """Whether a cell may be a list; in CSV it can only be written as text."""
        return suffix(self.path) not in SEPARATORS

    def lacks(self, *columns: str) -> str | None:
        """Return what is wrong if columns are missing or there twice."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            found = quoted([*self.columns], 1000)
            return f"no column {missing}, only {found}{self._likely(missing)}"
        twice = [column for column in columns if self.columns.count(column) > 1]
        return f"more than one column {twice}" if twice else None

    def require(self, *columns: str) -> None:
        """Check that columns exist, each once.

        Raises:
            ValueError: Columns are missing, or there twice.
        """
        if problem := self.lacks(*columns):
            raise ValueError(f"{self.path}: {problem}")

    def has_half(self, *columns: str) -> bool:
        """Return whether at least half of some columns exist, perhaps misspelt."""
        return 2 * len({*columns} & self._normalised()) >= len(columns)

    def _likely(self, missing: list[str]) -> str:
        """Say that columns differ only in their letters or spaces, if they do."""
        if self._normalised() >= {*missing}:
            return "; expected names in lower-case letters without spaces around them"
        return ""

    def _normalised(self) -> set[str]:
        """Return the columns in lower-case letters without spaces around them."""
        return {column.strip().lower() for column in self.columns}


def read_table(
    path: Path | str, suffixes: tuple[str, ...] = (), head: int | None = None
) -> Table:
    """Read a file of one of the types `READERS`; all but Parquet also with `.gz`.

    Args:
        path: the file.
        suffixes: the accepted types, by default all.
        head: how many of the first rows to read; all by default.

    Raises:
        ValueError: The file is missing, of another type or damaged; names the file and,
            where possible, the row.
    """
    path = Path(path)
    check_file(path, suffixes or tuple(READERS))
    return READERS[suffix(path)](path, head)


def _read_jsonl(path: Path, head: int | None) -> Table:
    return _from_objects(path, islice(read_jsonl(path), head))


def _read_json(path: Path, head: int | None) -> Table:
    found = read_json(path, head)
    records = found.records[:head]
    return _from_objects(path, records, are_prompts=found.are_prompts)


def _from_objects(path: Path, records: Records, **properties: bool) -> Table:
    rows = tuple(Row(*record) for record in records)
    columns = dict.fromkeys(key for row in rows for key in row.cells)
    return Table(path, tuple(columns), rows, **properties)


def _read_csv(path: Path, head: int | None) -> Table:
    header, records = read_csv(path)
    rows = (
        # A short row lacks the last columns.
        Row(number, dict(zip(header, cells, strict=False)))
        for number, cells in islice(records, head)
    )
    return Table(path, tuple(header), tuple(rows))


def _read_parquet(path: Path, head: int | None) -> Table:
    if is_packed(path):
        raise ValueError(f"{path}: a packed Parquet file; unpack it first")
    with path.open("rb") as file:
        start = file.read(SIGNATURE)
    if not start.startswith(b"PAR1"):
        check_signature(path, start)
    try:
        frame = pl.read_parquet(path, n_rows=head)
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
    **dict.fromkeys((".jsonl", ".ndjson"), _read_jsonl),
    ".json": _read_json,
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
