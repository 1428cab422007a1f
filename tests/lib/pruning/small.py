"""Settings of short trainings, and planted circuits to find."""

import numpy as np
from planted_cases import planted_case, split_batch

from circuit_transfer.models.edges import KV_HEAD, config_graph

SIZES = (0.3, 0.15)


def section(method, sizes=SIZES, objective="kl", **own):
    """Return the section `pruning` of a configuration, with settings of a method."""
    return {"sizes": list(sizes), "objective": objective, method: own}


def planted(entry, kind, pairs=48, batch_size=8):
    """Return a planted model, batches of its pairs, its graph, and the true edges."""
    made, model, batch = planted_case(entry, pairs, kind=kind)
    graph = config_graph(model.config, KV_HEAD)
    true = made.circuits[kind or next(iter(made.circuits))][KV_HEAD]
    truth = np.array([name in true for name in graph.edge_names()])
    return model, split_batch(batch, batch_size), graph, truth
