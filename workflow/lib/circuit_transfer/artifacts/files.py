"""Write files whole or not at all."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from safetensors import SafetensorError

# What to do about a file that another version wrote, or that was damaged.
REMEDY = "delete the file and run again: it is computed anew"


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success.

    Raises:
        OSError: it cannot be written; the error names `path`, whatever wrote to it.
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
    """Yield a folder to write files to; on success they are moved into `folder`.

    Raises:
        OSError: they cannot be written; the error names `folder`, whatever wrote them.
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
    """Remove what writers that were killed have left under a folder.

    Nobody may be writing there.
    """
    for left in Path(folder).rglob(".*.partial"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Let the system's errors name the path that was to be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(partial) in str(error.filename):
            error.filename = str(path)
        raise
    except (pl.exceptions.PolarsError, SafetensorError) as error:
        # Both are written in Rust and tell of the system's errors in words alone.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
