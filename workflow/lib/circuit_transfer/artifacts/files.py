"""Write files atomically: completely or not at all."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from safetensors import SafetensorError

# What to do about a file that is damaged, or was written by another version.
REMEDY = "delete the file and run again: it is recomputed"


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` on success.

    Raises:
        OSError: the file cannot be written; the error names `path`, whichever library
            was writing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with _naming(path, partial):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: Path | str) -> Iterator[Path]:
    """Yield a temporary folder; on success its files are moved into `folder`.

    Raises:
        OSError: a file cannot be written; the error names `folder`, whichever library
            was writing.
    """
    folder = Path(folder)
    partial = _partial(folder)
    partial.mkdir(parents=True)
    try:
        with _naming(folder, partial):
            yield partial
            folder.mkdir(exist_ok=True)
            for file in sorted(partial.iterdir()):
                os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(partial)


def remove_partial(folder: Path | str) -> None:
    """Remove the temporary files that killed processes have left in a folder.

    No process may be writing there meanwhile.
    """
    for partial in Path(folder).rglob(".*.partial"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Make errors of the operating system name the final path."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(partial) in str(error.filename):
            error.filename = str(path)
        raise
    except (pl.exceptions.PolarsError, SafetensorError) as error:
        # Both libraries are written in Rust and report the error number only as text.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
