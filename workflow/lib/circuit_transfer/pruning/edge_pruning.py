"""Edge Pruning (arXiv 2406.16778): train hard concrete gates, keep the most open edges.

The gates are trained so that the circuit diverges little from the full model while the
expected share of open ones is held at a target, see `constraints`.
"""

from circuit_transfer.pruning.gated import GatedEdges, GatedNodes
from circuit_transfer.pruning.learned_masks import Setup, trains

EDGE_PRUNING, NODE_PRUNING = "edge-pruning", "node-pruning"


@trains(EDGE_PRUNING)
def edge_gates(setup: Setup) -> GatedEdges:
    """`edge-pruning`: a gate for every edge."""
    return GatedEdges(setup)


@trains(NODE_PRUNING)
def node_gates(setup: Setup) -> GatedNodes:
    """`node-pruning`: a gate for every node.

    The circuit of a size is that of the most open nodes which has as many edges, or a
    few less.
    """
    return GatedNodes(setup)
