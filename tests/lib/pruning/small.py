"""Settings of short trainings, planted circuits to find, and measures of circuits."""

import numpy as np
import polars as pl
from planted_cases import planted_case, split_batch

from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.pruning.discogp_measures import measure_discogp

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


def measured(model, batches, graph, masks, ablation, weights=None):
    """Return what DiscoGP measures of circuits, a row for each."""
    masks = np.atleast_2d(masks)
    labels = pl.DataFrame({"circuit": np.arange(len(masks))})
    how = {"ablation": ablation, "weights": weights}
    return measure_discogp(model, batches, graph, labels, masks, **how).rows(named=True)
