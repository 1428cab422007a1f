"""Open data files: their type by their name, and their text line by line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from circuit_transfer.messages import quoted

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED = ".gz"
SAVE_AS = 'save it as UTF-8, in a spreadsheet program as "CSV UTF-8"'
# What to do about files of other types, by the ends of their names.
CURES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), SAVE_AS),
    **dict.fromkeys(
        (".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"), "unpack it first"
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".npy", ".feather", ".arrow"),
        "write its rows as Parquet or JSON Lines",
    ),
    **dict.fromkeys((".txt", "", ".dat"), "name it after what it contains"),
}
# Files of another type than their name says, by their first bytes.
SIGNATURES = {
    b"PK\x03\x04": f"a workbook or a zip archive: if a workbook, {SAVE_AS}",
    b"\xd0\xcf\x11\xe0": f"a workbook of an old Excel: {SAVE_AS}",
    b"PAR1": "a Parquet file: its name must end in .parquet",
    b"\x1f\x8b": "a gzip archive: its name must end in .gz",
    b"\xff\xfe": f"UTF-16 text: {SAVE_AS}",
    b"\xfe\xff": f"UTF-16 text: {SAVE_AS}",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file by `git lfs pull`",
}


def suffix(path: Path | str) -> str:
    """Return the type of a file by its name, in lower-case letters, without `.gz`."""
    path = Path(path)
    return Path(path.stem if is_packed(path) else path).suffix.lower()


def is_packed(path: Path) -> bool:
    """Return whether a file is packed by gzip, by its name."""
    return path.suffix.lower() == PACKED


def cure(path: Path | str) -> str:
    """Say what to do about a file of a type that is not read, or nothing."""
    found = CURES.get(suffix(path))
    return f"; {found}" if found else ""


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Check that a file exists and has an accepted suffix, in letters of any case.

    Raises:
        ValueError: The file does not exist, or has another suffix.
    """
    if suffix(path) not in suffixes:
        types = ", ".join(suffixes)
        raise ValueError(f"{path}: expected a file of type {types}{cure(path)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def read_lines(path: Path, unit: str = "line") -> Iterator[str]:
    """Read the lines of a text file in UTF-8, with their ends.

    A line ends with a line feed, so that texts may contain other separators; in a file
    without one, with a carriage return.

    Args:
        path: the file, which may be packed by gzip.
        unit: what a line is called in messages.

    Raises:
        ValueError: The file is not UTF-8 or a damaged archive; names the line.
    """
    number = 0
    try:
        with gzip.open(path) if is_packed(path) else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    check_signature(path, line)
                    _check_text(path, line)
                    line = line.removeprefix(BYTE_ORDER_MARK)
                text = _decoded(path, line, number, unit)
                yield from [text] if text.endswith("\n") else _split_returns(text)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: after {unit} {number}: not a readable gzip archive ({error})"
        ) from error


def check_signature(path: Path, start: bytes) -> None:
    """Check that the first bytes of a file are not those of another type.

    Raises:
        ValueError: They are; the message names the type, and what to do.
    """
    for signature, found in SIGNATURES.items():
        if start.startswith(signature):
            raise ValueError(f"{path}: this is {found}")


def _check_text(path: Path, start: bytes) -> None:
    """Check that a file does not begin as UTF-16 without a byte order mark does."""
    if b"\0" in start[:4]:
        raise ValueError(f"{path}: not UTF-8, but UTF-16 or no text: {SAVE_AS}")


def _split_returns(text: str) -> list[str]:
    """Split a text at carriage returns, the line ends of old Macs."""
    lines = text.removesuffix("\r").split("\r")
    return [f"{line}\n" for line in lines]


def _decoded(path: Path, line: bytes, number: int, unit: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: {unit} {number}: not UTF-8 ({quoted(error)}): perhaps Latin-1 "
            f"(Windows-1252): {SAVE_AS}"
        ) from error
