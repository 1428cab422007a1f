"""What the stages that learn circuits of edges share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.models.edges import Graph
from circuit_transfer.pruning.outcomes import LearnedEdges


def nothing_learned(sizes: Sequence[float], graph: Graph) -> LearnedEdges:
    """Return what is known without a pair: no score, and no edge of any circuit."""
    unknown = np.full((len(sizes), graph.n_edges), np.nan, np.float32)
    none = np.zeros(unknown.shape, bool)
    return LearnedEdges(unknown, none, unknown[:, 0], curves={})


def write_learned(
    path: Path | str, learned: LearnedEdges, labels: Mapping[str, Any], seed: int
) -> None:
    """Write circuits that were learned, with what they were learned by.

    Args:
        path: where they go.
        learned: the circuits.
        labels: values that JSON can hold. Among what a method notes may be others, such
            as sizes that it has chosen itself.
        seed: of the training.
    """
    found = {"open_share": learned.open_share, "curves": learned.curves}
    found |= {"extras": learned.tensors, **labels, **learned.notes, "seed": seed}
    write_edge_masks(path, learned.scores, learned.kept, **found)
