"""The scores that are transferred, of nodes and of edges."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.circuits.edge_controls import ranked
from circuit_transfer.tables.edge_curves import ABSOLUTE


def transferred_scores(
    paths: Iterable[Path | str],
    edge_paths: Iterable[Path | str],
    *,
    ranking: str = ABSOLUTE,
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield the metadata and the scores of files, one after the other.

    Args:
        paths: of scores of nodes; they are float32 `(n_nodes,)`.
        edge_paths: of scores of edges; float32 `(n_edges,)`.
        ranking: which scores of edges are transferred, `absolute` or `signed`.
    """
    for nodes in map(read_scores, paths):
        yield nodes.metadata, nodes.scores
    for edges in map(read_edge_scores, edge_paths):
        yield edges.metadata, ranked(edges.flat, ranking)
