"""Data frames as Parquet files, and tables in CSV files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.files import REMEDY, atomic


def write_frame(frame: pl.DataFrame, path: Path | str) -> None:
    """Write a frame as a Parquet file."""
    with atomic(path) as partial:
        frame.write_parquet(partial)


def read_frame(path: Path | str, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Read a Parquet file that must have the given columns.

    Raises:
        ValueError: the file is damaged, or a column is missing.
    """
    try:
        frame = pl.read_parquet(path)
    # The reader panics if the pages of the file are damaged.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(
            f"{path}: not a readable Parquet file ({error}); {REMEDY}"
        ) from error
    return _with_columns(frame, columns, path)


def read_table(path: Path | str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read a CSV file that `tables.typesetting` has written.

    Args:
        path: the file.
        schema: types of the columns that it must have; others are inferred.

    Raises:
        ValueError: the file is damaged, or a column is missing.
    """
    try:
        frame = pl.read_csv(path, schema_overrides=schema)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: not a table ({error}); {REMEDY}") from error
    return _with_columns(frame, schema, path)


def _with_columns(
    frame: pl.DataFrame, columns: Iterable[str], path: Path | str
) -> pl.DataFrame:
    """Return the frame of a file, which must have the given columns.

    Raises:
        ValueError: a column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"{path}: no column {missing}, only {frame.columns}: written by an older "
            f"version? Then {REMEDY}"
        )
    return frame
