"""Node scores of one model on one task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class Scores:
    """One score per node of one model on one task.

    Attributes:
        scores: float32 `(n_nodes,)`, higher supports the answer more.
        nodes: the node names in order.
        metadata: model, task, method, examples and the settings they were made with.
        by_example: float32 `(examples, n_nodes)`, whose mean over examples the scores
            are; None where it is not known.
    """

    scores: np.ndarray
    nodes: tuple[str, ...]
    metadata: dict[str, Any]
    by_example: np.ndarray | None = None


def write_scores(
    path: Path | str,
    scores: np.ndarray,
    *,
    nodes: Sequence[str],
    by_example: np.ndarray | None = None,
    **metadata: Any,
) -> None:
    """Write node scores, see `Scores`, with the settings they were made with.

    Raises:
        ValueError: the scores do not have one number per node.
    """
    if scores.shape != (len(nodes),):
        raise ValueError(f"scores {scores.shape} do not fit {len(nodes)} node names")
    tensors = {"scores": scores.astype(np.float32)}
    if by_example is not None:
        if by_example.shape[1:] != scores.shape:
            raise ValueError(f"by_example {by_example.shape} does not fit the scores")
        tensors["by_example"] = by_example.astype(np.float32)
    write_tensors(path, tensors, nodes=list(nodes), **metadata)


def read_scores(path: Path | str) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        ValueError: the file is damaged, of another format, or misses the scores.
    """
    tensors, metadata = read_tensors(path, ("scores",), ("nodes",))
    nodes = tuple(metadata.pop("nodes"))
    return Scores(tensors["scores"], nodes, metadata, tensors.get("by_example"))
