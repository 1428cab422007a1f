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
        scores: float32 `(n_nodes,)`; positive scores support the answer.
        nodes: the node names in order.
        metadata: model, task, method, number of examples and attribution settings.
        by_example: scores of the single examples, float32 `(examples, n_nodes)`, of
            which `scores` is the mean; None if they are unknown.
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
    """Write node scores, see `Scores`, with the settings of the attribution.

    Raises:
        ValueError: the number of scores differs from the number of nodes.
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
        ValueError: the file is damaged, has another format, or lacks the scores.
    """
    tensors, metadata = read_tensors(path, ("scores",), ("nodes",))
    nodes = tuple(metadata.pop("nodes"))
    return Scores(tensors["scores"], nodes, metadata, tensors.get("by_example"))
