"""Small maps of edges to train, and what they are trained on."""

import numpy as np

from circuit_transfer.models.edges import KV_HEAD, edge_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.transfer.edge_maps import lifted_map
from circuit_transfer.transfer.edge_training import fit_edges
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_edge_maps import EdgeStart

# Of the fixture `model`, and of a source that is shallower.
TARGET = edge_graph(2, 4, 2, kv=KV_HEAD)
SOURCE = edge_graph(1, 2, 1, kv=KV_HEAD)
GRAPHS = SOURCE, TARGET
SETTINGS = FitSettings(epochs=3, learning_rate=0.1, sparsity=0.1)


def edge_scores(seed):
    """Return scores of the source's edges whose magnitudes sum to 1."""
    scores = np.random.default_rng(seed).normal(size=SOURCE.n_edges)
    return (scores / np.abs(scores).sum()).astype(np.float32)


SOURCES = {task: edge_scores(seed) for seed, task in enumerate("ab")}
_nodes = [np.array(node_names(*sizes)) for sizes in ((1, 2), (2, 4))]
# As priors of nodes are: heads to heads, MLPs to MLPs.
_alike = np.equal.outer(*(np.char.startswith(each, "m") for each in _nodes))
PRIOR = (np.random.default_rng(3).random(_alike.shape) * _alike).astype(np.float32)
LIFTED = lifted_map(PRIOR, *GRAPHS)


def train(model, prepared, settings=SETTINGS, *, seed=0, prior=None, sources=SOURCES):
    """Fit one map alone."""
    start = EdgeStart(sources, seed, prior)
    (found,) = fit_edges(model, prepared, [start], settings, graphs=GRAPHS)
    return found
