"""Prompt pairs from a user's own file."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

REQUIRED = ("clean", "corrupted", "answer", "wrong_answer")
OPTIONAL = ("split", "group")
SPLITS = ("train", "test")


def read_file(path: Path | str) -> pl.DataFrame:
    """Read pairs from `.jsonl`, `.csv` or `.parquet`.

    Columns are `clean`, `corrupted`, `answer`, `wrong_answer`, and if one likes
    `group` (by default the clean prompt) and `split`; others are left out. Without a
    split, a hash of the group decides, half and half.

    Raises:
        ValueError: Naming file, row and column: the file cannot be read, a column is
            missing, a cell is not text, or a group is in both splits.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"{path}: expected a file of type {', '.join(READERS)}")
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    frame = READERS[path.suffix](path)
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise ValueError(f"{path}: no column {missing}, only {frame.columns}")
    frame = frame.select(c for c in (*REQUIRED, *OPTIONAL) if c in frame.columns)
    _check_text(path, frame)
    return _with_split(path, frame)


def _read_jsonl(path: Path) -> pl.DataFrame:
    rows = [row for _, row in _objects(path)]
    # A column is there when any row has it; rows without it then lack a cell.
    columns = dict.fromkeys(key for row in rows for key in row)
    return pl.DataFrame(
        {key: [row.get(key) for row in rows] for key in columns},
        schema=dict.fromkeys(columns, pl.Object),
    )


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: row {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}: row {number}: expected an object, found {line}")
        yield number, row


def _read_csv(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False, empty_string_is_null=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from error


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from error


READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}


def _check_text(path: Path, frame: pl.DataFrame) -> None:
    for column in frame.columns:
        for number, cell in enumerate(frame[column].to_list(), start=1):
            where = f"{path}: row {number}, column {column}"
            if not isinstance(cell, str):
                raise ValueError(f"{where}: expected text, found {cell!r}")
            if column == "split" and cell not in SPLITS:
                raise ValueError(f"{where}: expected train or test, found {cell!r}")


def _with_split(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    rows = {column: frame[column].to_list() for column in frame.columns}
    rows.setdefault("group", rows["clean"])
    rows.setdefault("split", [_half(group) for group in rows["group"]])
    first: dict[str, tuple[int, str]] = {}
    for number, (group, split) in enumerate(
        zip(rows["group"], rows["split"], strict=True), start=1
    ):
        earlier, other = first.setdefault(group, (number, split))
        if split != other:
            raise ValueError(
                f"{path}: rows {earlier} and {number}, column split: one is {other}, "
                f"the other {split}, but both are of the group {group!r}"
            )
    columns = (*REQUIRED, *OPTIONAL)
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def _half(group: str) -> str:
    return SPLITS[sha256(group.encode()).digest()[0] % 2]
