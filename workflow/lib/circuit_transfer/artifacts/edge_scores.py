"""Edge scores of one model on one task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors

# Scores of single examples that are saved unless more are wanted.
MOST_SCORES = 2**24


@dataclass(frozen=True)
class EdgeScores:
    """One score per edge of one model on one task.

    Attributes:
        scores: float32 `(n_writers, n_readers)`, NaN where there is no edge; positive
            scores support the answer.
        legal: where there is an edge, bool of the same shape.
        writers: names of the writers in order.
        readers: names of the readers in order.
        metadata: `kv`, `n_edges`, model, task, method, number of examples and
            attribution settings.
        by_example: scores of the single examples, float16 `(examples, n_edges)`, edges
            in the order of their readers, then writers; None if they were not saved.
    """

    scores: np.ndarray
    legal: np.ndarray
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    metadata: dict[str, Any]
    by_example: np.ndarray | None = None

    @property
    def is_signed(self) -> bool:
        """Whether negative scores oppose the answer; learned ones rank and no more."""
        return "seed" not in self.metadata

    @property
    def flat(self) -> np.ndarray:
        """The scores of the edges, float32 `(n_edges,)`, by reader, then writer."""
        return self.scores.T[self.legal.T]


def keeps_examples(wanted: bool | str, examples: int, n_edges: int) -> bool:
    """Return whether the scores of single examples are saved.

    Args:
        wanted: true, false or `auto`, which saves up to `MOST_SCORES`.
        examples: how many there are.
        n_edges: how many scores each has.
    """
    return examples * n_edges <= MOST_SCORES if wanted == "auto" else bool(wanted)


def write_edge_scores(
    path: Path | str,
    scores: np.ndarray,
    *,
    legal: np.ndarray,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    by_example: np.ndarray | None = None,
    **metadata: Any,
) -> None:
    """Write edge scores, see `EdgeScores`, with the settings of the attribution.

    Raises:
        ValueError: the shapes differ.
    """
    shape, n_edges = (len(writers), len(readers)), int(legal.sum())
    if scores.shape != shape or legal.shape != shape:
        raise ValueError(
            f"scores {scores.shape} and legal {legal.shape}: expected {shape}, for "
            f"{len(writers)} writers and {len(readers)} readers"
        )
    tensors = {
        "scores": np.where(legal, scores, np.nan).astype(np.float32),
        "legal": legal.astype(np.uint8),
    }
    if by_example is not None:
        if by_example.shape[1:] != (n_edges,):
            raise ValueError(f"by_example {by_example.shape} for {n_edges} edges")
        tensors["by_example"] = by_example.astype(np.float16)
    names = {"writers": list(writers), "readers": list(readers)}
    write_tensors(path, tensors, **names, n_edges=n_edges, **metadata)


def read_edge_scores(path: Path | str) -> EdgeScores:
    """Read what `write_edge_scores` wrote.

    Raises:
        ValueError: the file is damaged, has another format, or lacks something.
    """
    names = ("writers", "readers")
    tensors, metadata = read_tensors(path, ("scores", "legal"), (*names, "kv"))
    writers, readers = (tuple(metadata.pop(name)) for name in names)
    legal = tensors["legal"].astype(bool)
    by_example = tensors.get("by_example")
    return EdgeScores(tensors["scores"], legal, writers, readers, metadata, by_example)
