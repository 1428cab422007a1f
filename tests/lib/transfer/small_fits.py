from dataclasses import replace
from functools import partial

import numpy as np

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.models.nodes import node_names
from circuit_transfer.transfer.node_training import fit
from circuit_transfer.transfer.objectives import (
    FitSettings,
)
from circuit_transfer.transfer.trained_maps import Start

NODES = node_names(2, 4)
N = len(NODES)
SETTINGS = FitSettings("circuit", epochs=3, learning_rate=0.1, sparsity=0.1)
SOURCES = {
    "a": np.array([1.0, -0.5, 0.25], np.float32),
    "b": np.array([-0.75, 1.0, 0.5], np.float32),
}
PRIOR = np.random.default_rng(3).random((3, N)).astype(np.float32)


def train(model, prepared, sources, settings, *, seed, prior=None):
    """Fit one map alone."""
    start = Start(sources, prior)
    (found,) = fit(model, prepared, [start], settings, n_target=N, seed=seed)
    return found


def under_masks(model, settings=SETTINGS):
    """Return how masks of nodes run."""
    return partial(masked_logits, model, intervention=settings.intervention)


def only(prepared, *indices):
    """Keep some batches."""
    chosen = [prepared[index] for index in indices]
    pending = [lambda e=each: e for each in chosen]
    return Preparations(pending, [e.task for e in chosen], [e.batch for e in chosen])


AREA = replace(
    SETTINGS, objective="area", proportions=(0.05, 0.2, 0.25, 0.5, 1.0), epochs=8
)


def scaled_prior(sources, scale):
    spread = np.mean([(scores @ PRIOR).std() for scores in sources.values()])
    return scale * PRIOR / spread
