"""Controls of edge scores that a transfer of edges has to beat."""

import numpy as np
import scipy  # its `sparse` only where it is used: every start of a run reads this file

from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.controls import TRAINED_CONTROLS

# How far the sums may be off, as a share of the largest, and after how many rounds.
CLOSE, MOST_ROUNDS = 1e-9, 1000
# What keeps slopes of which rounding leaves nothing from being singular.
ROUNDING = 1e-14


def degree_preserving(scores: np.ndarray, graph: Graph) -> np.ndarray:
    """Return scores that know only how important every writer and every reader is.

    Positive and negative scores, each, are replaced by those of largest entropy among
    all with the same sum at every writer and at every reader: the outer product of
    these sums, corrected for pairs that are no edge. Whether anything beyond the
    importance of nodes is transferred shows in what they do worse.

    Args:
        scores: `(n_edges,)`; unknown ones (NaN) stay unknown.
        graph: the edges.

    Returns:
        `(n_edges,)`, of the type of the scores.
    """
    if not np.isfinite(scores).all():
        return np.full_like(scores, np.nan)
    matrix = graph.matrix(scores.astype(np.float64), outside=0)
    positive, negative = (
        _largest_entropy(np.maximum(part, 0), graph.legal) for part in (matrix, -matrix)
    )
    return graph.flat(positive - negative).astype(scores.dtype)


def _largest_entropy(matrix: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Return the matrix of largest entropy with the same sums of rows and columns.

    It is what can be positive at all, with rows and columns scaled. Columns are scaled
    to their sums as in iterative proportional fitting; rows by Newton's method, since
    the former takes very long where some scores are tiny in comparison with others.

    Args:
        matrix: entries of at least 0, `(n_writers, n_readers)`.
        legal: which entries may be positive, bool of the same shape.

    Raises:
        ArithmeticError: the sums are not reached.
    """
    parts, found = _possible(matrix, legal)
    rows, columns = matrix.sum(1), matrix.sum(0)
    # Within a part, rows can only be scaled relative to each other.
    free = found.any(1)
    free[np.unique(parts, return_index=True)[1]] = False
    for _ in range(MOST_ROUNDS):
        found *= _ratio(columns, found.sum(0))
        off = rows - found.sum(1)
        if np.abs(off).max() <= CLOSE * rows.max():
            return found
        step = np.zeros(len(rows))
        step[free] = _newton_step(found[free], columns, off[free])
        found *= np.exp(step / max(1.0, np.abs(step).max()))[:, None]
    raise ArithmeticError(
        f"the sums of edge scores at writers are off by up to {np.abs(off).max():.2g} "
        f"after {MOST_ROUNDS} rounds; expected {CLOSE * rows.max():.2g}"
    )


def _newton_step(found: np.ndarray, columns: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Return by how much the logarithms of rows' scales change, `(n_rows,)`.

    Args:
        found: the rows, of which the columns have their sums.
        columns: these sums.
        off: how much the sums of the rows lack.
    """
    slopes = -found @ _ratio(found, np.broadcast_to(columns, found.shape)).T
    slopes[np.diag_indices_from(slopes)] += found.sum(1) * (1 + ROUNDING)
    return np.linalg.solve(slopes, off)


def _possible(matrix: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of every row, and where some matrix has these sums, 1 or 0.

    Rows and columns of different parts have no such entry in common. One can grow if
    others can make up for it: along a cycle in which legal entries grow (from row to
    column) and positive ones shrink (from column to row).
    """
    n_rows = len(matrix)
    grow, shrink = (scipy.sparse.csr_array(each) for each in (legal, matrix.T > 0))
    ways = scipy.sparse.block_array([[None, grow], [shrink, None]])
    _, part = scipy.sparse.csgraph.connected_components(ways, connection="strong")
    both = legal & np.equal.outer(part[:n_rows], part[n_rows:])
    return part[:n_rows], both.astype(np.float64)


def _ratio(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)


# All controls of edges: those of nodes, random edges in place of every circuit of the
# main map (`circuits.edge_controls.grown_circuits`), and the scores above.
DEGREE_SOURCE, RANDOM_EFFECTIVE = "degree-source", "random-effective"
EDGE_CONTROLS = (
    "random-alignment",
    "scrambled-source",
    "permuted-alignment",
    DEGREE_SOURCE,
    "depth-heuristic",
    "source-free",
    "random-source",
    "other-family",
    "mean-gold",
    "ridge",
    RANDOM_EFFECTIVE,
    "node-changes",
    "edge-changes",
    "self-stitched",
    "free-mask",
)
# Scores from the target's own activations on a task, without a source: how much nodes
# change, lifted to their edges, how much edges do (`edge_stitching`), and the target
# stitched to itself.
EDGE_TARGET_ONLY = ("node-changes", "edge-changes", "self-stitched")
TRAINED_EDGE_CONTROLS = (*TRAINED_CONTROLS, DEGREE_SOURCE)
