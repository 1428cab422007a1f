"""What the stages that learn circuits of edges share."""

from collections.abc import Sequence

import numpy as np

from circuit_transfer.models.edges import Graph
from circuit_transfer.pruning.outcomes import LearnedEdges


def nothing_learned(sizes: Sequence[float], graph: Graph) -> LearnedEdges:
    """Return what is known without a pair: no score, and no edge of any circuit."""
    unknown = np.full((len(sizes), graph.n_edges), np.nan, np.float32)
    none = np.zeros(unknown.shape, bool)
    return LearnedEdges(unknown, none, unknown[:, 0], curves={})
