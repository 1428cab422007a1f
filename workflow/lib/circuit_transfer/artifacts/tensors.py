"""Named tensors with metadata as safetensors files; nothing is pickled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from circuit_transfer.artifacts.files import REMEDY, atomic

FORMAT = "circuit-transfer/1"
# Metadata keys of names, stored as text even if they look like JSON (a task `2024`).
NAMES = {"model", "task", "method", "source", "target", "training_set", "ablation"}


def write_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], /, **metadata: Any
) -> None:
    """Write named tensors with metadata; equal content gives equal bytes."""
    # safetensors metadata is text only: names are written unchanged, everything else,
    # including text that would parse as JSON, is encoded as JSON.
    text = {
        key: value if _is_plain(key, value) else json.dumps(value)
        for key, value in {"format": FORMAT, **metadata}.items()
    }
    arrays = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    with atomic(path) as partial:
        partial.write_bytes(_sorted_header(safetensors.numpy.save(arrays, text)))


def read_tensors(
    path: Path | str, needed: Sequence[str] = (), settings: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_tensors` wrote: all tensors, and the metadata.

    Args:
        path: path of the file.
        needed: names of the required tensors.
        settings: keys of the required metadata.

    Raises:
        ValueError: the file is damaged, has another format, or lacks one of these.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a readable safetensors file: {error}; {REMEDY}"
        ) from error
    written = metadata.pop("format", None)
    if written != FORMAT:
        raise ValueError(
            f"{path}: its format is {written!r}, expected {FORMAT!r}; {REMEDY}"
        )
    for names, present, kind in (
        (needed, found, "tensor"),
        (settings, metadata, "metadata"),
    ):
        missing = [key for key in names if key not in present]
        if missing:
            raise ValueError(
                f"{path}: no {kind} {missing}, only {sorted(present)}: written by an "
                f"older version? Then {REMEDY}"
            )
    return found, {key: _parsed(key, value) for key, value in metadata.items()}


def _sorted_header(data: bytes) -> bytes:
    # safetensors writes metadata in random order, but equal content must give equal
    # bytes. The layout is: header length, JSON header, tensor data.
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _is_plain(key: str, value: Any) -> bool:
    return isinstance(value, str) and _parsed(key, value) == value


def _parsed(key: str, text: str) -> Any:
    if key in NAMES:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
