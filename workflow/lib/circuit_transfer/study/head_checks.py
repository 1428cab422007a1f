"""Checks of the heads that a study names, by the sizes of models known beforehand."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.circuits.head_roles import check_heads
from circuit_transfer.embedded.planted.settings import planted_settings
from circuit_transfer.models.checkpoints import read_sizes
from circuit_transfer.models.gguf_files import read_header
from circuit_transfer.models.nodes import node_names


def check_named_heads(config: Mapping, directories: Sequence[Path]) -> None:
    """Check that the heads in `evaluation.heads` are those of their models.

    Those of a model on the hub are checked when it has been downloaded, and those of a
    model that is made from another one when it has been trained.

    Args:
        config: the whole config, of which the files of models have been checked.
        directories: where relative paths may start.

    Raises:
        ValueError: a model has no such head.
    """
    for name, heads in config["evaluation"]["heads"].items():
        sizes = layers_and_heads(config["models"][name], directories)
        # A configuration may leave out what is the default of its family.
        if all(isinstance(each, int) for each in sizes):
            try:
                check_heads(heads, node_names(*sizes))
            except ValueError as error:
                raise ValueError(f"evaluation.heads.{name}: {error}") from error


def layers_and_heads(entry: Mapping, directories: Sequence[Path]) -> tuple[Any, Any]:
    """Return the number of layers, and of heads in each, or what is not known."""
    if "train" in entry:
        return entry["train"].get("layers"), entry["train"].get("heads")
    if "planted" in entry:
        settings = planted_settings(entry["planted"])
        return settings.layers, settings.heads
    if "path" in entry:
        return read_sizes(found(entry["path"], directories))
    if "gguf" in entry:
        header = read_header(found(entry["gguf"], directories))
        return header.setting("block_count"), header.setting("attention.head_count")
    return None, None


def found(path: str, directories: Sequence[Path]) -> Path:
    """Return where the file or folder of an entry is, which has been checked."""
    every = (directory / path for directory in directories)
    return next(each for each in every if os.path.exists(each))
