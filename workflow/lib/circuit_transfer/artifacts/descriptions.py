"""Descriptions of models, as JSON."""

from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import REMEDY
from circuit_transfer.artifacts.text import read_json

# What stages look for in the description of a model.
DESCRIBED = (
    *("model", "path", "dtype", "attn_implementation", "device_map", "tokenizer"),
    *("architecture", "layers", "heads", "context", "vocabulary", "nodes"),
)


def read_description(path: Path | str) -> dict[str, Any]:
    """Read the description of a model, see `models.describe_model`.

    Raises:
        ValueError: the file is damaged, or of an older version.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {REMEDY}") from error
    there = found if isinstance(found, dict) else {}
    missing = [key for key in DESCRIBED if key not in there]
    if missing:
        raise ValueError(
            f"{path}: no {missing}, only {sorted(there)}: of an older version? "
            f"Then {REMEDY}"
        )
    return found
