"""Descriptions of models and other records with known keys, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import REMEDY
from circuit_transfer.artifacts.text import read_json

# The keys that stages read from the description of a model.
DESCRIBED = (
    *("model", "path", "dtype", "attn_implementation", "device_map", "tokenizer"),
    *("architecture", "layers", "heads", "context", "vocabulary", "nodes"),
)


def read_description(path: Path | str) -> dict[str, Any]:
    """Read the description of a model, see `models.describe_model`.

    Raises:
        ValueError: the file is damaged, or was written by an older version.
    """
    return read_record(path, DESCRIBED)


def read_record(path: Path | str, keys: Sequence[str]) -> dict[str, Any]:
    """Read a record that must have the given keys.

    Raises:
        ValueError: the file is damaged, or was written by an older version.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {REMEDY}") from error
    present = found if isinstance(found, dict) else {}
    missing = [key for key in keys if key not in present]
    if missing:
        raise ValueError(
            f"{path}: no {missing}, only {sorted(present)}: written by an older "
            f"version? Then {REMEDY}"
        )
    return found
