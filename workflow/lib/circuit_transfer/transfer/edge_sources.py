"""What maps of edges and their trained controls are trained on."""

from collections.abc import Callable, Mapping

import numpy as np

from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.controls import (
    TRAINED_CONTROLS,
    control_sources,
    permuted,
)
from circuit_transfer.transfer.edge_controls import (
    DEGREE_SOURCE,
    TRAINED_EDGE_CONTROLS,
    degree_preserving,
)
from circuit_transfer.transfer.edge_maps import edge_kinds

SOURCE_FREE, RANDOM_SOURCE = TRAINED_CONTROLS
Sources = Mapping[str, np.ndarray]


def edge_control_sources(
    control: str, sources: Sources, graph: Graph, *, seed: int
) -> Sources:
    """Return the edge scores that a control is trained on instead of the real ones.

    For `source-free` one constant, as of nodes; for `random-source` the task's scores
    in a random order within the kinds of edges; for `degree-source` what is left of
    them by `edge_controls.degree_preserving`; for `none` the scores.

    Args:
        control: name of the control, or `none`.
        sources: transformed scores `(n_edges,)` by task.
        graph: the edges of the source.
        seed: of the orders.

    Raises:
        ValueError: the control is not a trained one.
    """
    kinds = edge_kinds(graph)
    made: Mapping[str, Callable[[str], np.ndarray]] = {
        "none": lambda task: sources[task],
        SOURCE_FREE: control_sources(SOURCE_FREE, sources, seed=seed).get,
        RANDOM_SOURCE: lambda task: permuted(
            sources[task], task=task, seed=seed, what=RANDOM_SOURCE, kinds=kinds
        ),
        DEGREE_SOURCE: lambda task: degree_preserving(sources[task], graph),
    }
    if control not in made:
        raise ValueError(f"control {control!r} is not one of {TRAINED_EDGE_CONTROLS}")
    return {task: made[control](task) for task in sources}
