"""Named tensors with metadata, as safetensors; no pickle anywhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from circuit_transfer.artifacts.files import REMEDY, atomic

FORMAT = "circuit-transfer/1"
# Metadata that is a name and stays text even where it looks like JSON (a task `2024`).
NAMES = {"model", "task", "method", "source", "target", "training_set", "ablation"}


def write_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], /, **metadata: Any
) -> None:
    """Write named tensors with metadata, the same bytes for the same content."""
    # safetensors metadata is text only: names stay as they are, the rest is JSON, and
    # so is a text that would be read as JSON.
    text = {
        key: value if _is_plain(key, value) else json.dumps(value)
        for key, value in {"format": FORMAT, **metadata}.items()
    }
    whole = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    with atomic(path) as partial:
        partial.write_bytes(_sorted_header(safetensors.numpy.save(whole, text)))


def read_tensors(
    path: Path | str, needed: Sequence[str] = (), settings: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_tensors` wrote: all tensors, and the metadata.

    Args:
        path: of the file.
        needed: names of tensors that there must be.
        settings: names of metadata that there must be.

    Raises:
        ValueError: the file is damaged, of another format, or misses one of these.
        FileNotFoundError: there is none.
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
    for names, there, kind in (
        (needed, found, "tensor"),
        (settings, metadata, "metadata"),
    ):
        missing = [key for key in names if key not in there]
        if missing:
            raise ValueError(
                f"{path}: no {kind} {missing}, only {sorted(there)}: of an older "
                f"version? Then {REMEDY}"
            )
    return found, {key: _parsed(key, value) for key, value in metadata.items()}


def _sorted_header(data: bytes) -> bytes:
    # safetensors writes metadata in a random order; files of equal content must be
    # equal byte for byte. The layout is: header length, JSON header, tensor data.
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
