"""Read the header of a GGUF file: its settings, and what tensors it has.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. No tensor is read,
and no package is needed.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

MAGIC, LFS_POINTER = b"GGUF", b"version https://git-lfs"
VERSIONS = (2, 3)
ARCHITECTURE = "general.architecture"
# Codes of `struct` by the type of a value; the other two types have no fixed size.
NUMBERS = {
    **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"},
    **{10: "Q", 11: "q", 12: "d"},
}
TEXT, ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in a GGUF file.

    Attributes:
        shape: number of values by dimension, the fastest first.
        type: number of the quantisation type.
        offset: bytes from the beginning of the tensors to its own.
    """

    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says before its tensors.

    Attributes:
        settings: by key, such as `general.architecture`.
        tensors: by name.
        start: bytes from the beginning of the file to the tensors.
    """

    settings: dict[str, Any]
    tensors: dict[str, GgufTensor]
    start: int

    @property
    def architecture(self) -> str:
        """The name of the model family in GGUF files."""
        return str(self.settings.get(ARCHITECTURE))

    @property
    def values(self) -> int:
        """Number of values of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    def setting(self, key: str) -> Any:
        """Return a setting of the model family, None where the file has none."""
        return self.settings.get(f"{self.architecture}.{key}")


def read_header(path: Path | str) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        ValueError: not a GGUF file, of another version, damaged or truncated.
    """
    with Path(path).open("rb") as file:
        _check_magic(path, file.read(len(LFS_POINTER)))
        file.seek(len(MAGIC))
        reader = _Reader(file, Path(path).stat().st_size)
        try:
            version = reader.number("I")
            header = _read_header(reader) if version in VERSIONS else None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path}: damaged or truncated in its header ({reader.size:,} bytes)"
            ) from error
    if header is None:
        raise ValueError(
            f"{path}: version {version} of GGUF; expected 2 or 3, little-endian"
        )
    return header


def _check_magic(path: Path | str, begin: bytes) -> None:
    if begin == LFS_POINTER:
        raise ValueError(
            f"{path}: a Git LFS pointer instead of the model; run `git lfs pull`"
        )
    if not begin.startswith(MAGIC):
        raise ValueError(
            f"{path}: not a GGUF file: expected the first bytes {MAGIC!r}, found "
            f"{begin[: len(MAGIC)]!r}"
        )


def _read_header(reader: "_Reader") -> GgufHeader:
    count, settings_count = reader.number("Q"), reader.number("Q")
    settings, tensors = {}, {}
    for _ in range(settings_count):
        key = reader.text()
        settings[key] = reader.value(reader.number("I"))
    for _ in range(count):
        name, dimensions = reader.text(), reader.number("I")
        shape = reader.numbers("Q", dimensions)
        tensors[name] = GgufTensor(shape, reader.number("I"), reader.number("Q"))
    alignment = settings.get("general.alignment", 32)
    padded = -(-reader.position // alignment) * alignment
    return GgufHeader(settings, tensors, padded)


class _Reader:
    """Values from a file, in order."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self.size = file, size

    @property
    def position(self) -> int:
        return self._file.tell()

    def numbers(self, code: str, count: int = 1) -> tuple:
        form = f"<{count}{code}"
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def number(self, code: str) -> Any:
        return self.numbers(code)[0]

    def text(self) -> str:
        return self._bytes(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        kind, count = self.number("I"), self.number("Q")
        if kind in NUMBERS:
            return list(self.numbers(NUMBERS[kind], count))
        return [self.value(kind) for _ in range(count)]

    def _bytes(self, count: int) -> bytes:
        # Checked before memory is allocated for what a damaged file asks for.
        if count > self.size:
            raise ValueError(f"{count:,} bytes in a file of {self.size:,}")
        found = self._file.read(count)
        if len(found) < count:
            raise ValueError(f"{count:,} bytes at {self.position:,} are not there")
        return found
