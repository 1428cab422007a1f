"""Alignments of edges: maps of a source model's edge scores to a target model's.

Differentiable Faithfulness Alignment (arXiv 2604.24302), which is of nodes, for edges
in two factors, see `edge_maps`. All maps of a training set are fitted with their
controls: some are trained, the others are given by what is known of the nodes.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from torch import nn

from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.circuits.prepared_edges import PreparedEdges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.alignment import (
    is_trained,
    warn_of_collapse,
    warn_of_unknown,
)
from circuit_transfer.transfer.edge_maps import EdgeMap, lifted_map
from circuit_transfer.transfer.edge_sources import Sources, edge_control_sources
from circuit_transfer.transfer.edge_training import fit_edges
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_edge_maps import EdgeStart, FittedEdges

Tensors = dict[str, np.ndarray]
# A seed, and a map with its control.
Key = tuple[int, tuple[str, str]]
INITIAL = ("initial_writers", "initial_readers")


def fit_edge_maps(
    model: nn.Module,
    prepared: Preparations[PreparedEdges],
    sources: Sources,
    settings: FitSettings,
    requested: Sequence[tuple[str, str]],
    *,
    graphs: tuple[Graph, Graph],
    seeds: Sequence[int],
    priors: Mapping[str, np.ndarray],
    resume: Resume = NO_RESUME,
) -> dict[int, list[Tensors]]:
    """Fit maps of edges and their trained controls for all seeds, side by side.

    What is NaN, and what a control does not have, is as in `alignment.fit_maps`.

    Args:
        model: as in `edge_training.fit_edges`, like the next one.
        prepared: likewise.
        sources: transformed scores `(n_edges,)` of the real maps, by training task.
        settings: as in `edge_training.fit_edges`.
        requested: the map and the control (or `none`) of every fit, see `maps.fits`.
        graphs: the edges of source and target.
        seeds: of the random starts, and by the area objective of the sizes drawn.
        priors: matrices of nodes `(n_source, n_target)` by map.
        resume: as in `edge_training.fit_edges`.

    Returns:
        By seed, the tensors of each of `requested`, see `FittedEdges`.
    """
    lifted = {name: lifted_map(each, *graphs) for name, each in priors.items()}
    trained = [each for each in requested if is_trained(each[0], sources, priors)]
    starts = _starts([*product(seeds, trained)], sources, graphs[0], lifted)
    fitted: dict[Key, FittedEdges] = {}
    if starts:
        how = {"graphs": graphs, "resume": resume}
        found = fit_edges(model, prepared, [*starts.values()], settings, **how)
        fitted = dict(zip(starts, found, strict=True))
    for (seed, each), one in fitted.items():
        what = f"{'/'.join(each)}, seed {seed}", f"{graphs[1].n_edges} edges"
        warn_of_collapse(one.open_share, [*sources], *what)
    made = {key: _tensors(one, key[1][1]) for key, one in fitted.items()}
    for each in requested:
        if each not in trained:
            alone = _untrained(each[0], lifted.get(each[0]), sources, graphs)
            made |= {(seed, each): alone for seed in seeds}
    return {seed: [made[seed, each] for each in requested] for seed in seeds}


def _starts(
    keys: Sequence[Key],
    sources: Sources,
    graph: Graph,
    priors: Mapping[str, EdgeMap],
) -> dict[Key, EdgeStart]:
    """Return where every fit starts."""
    # Controls of all maps have the same scores.
    seen = {
        (seed, control): edge_control_sources(control, sources, graph, seed=seed)
        for seed, control in dict.fromkeys((seed, each[1]) for seed, each in keys)
    }
    return {
        (seed, (name, control)): EdgeStart(seen[seed, control], seed, priors.get(name))
        for seed, (name, control) in keys
    }


def _untrained(
    name: str, prior: EdgeMap | None, sources: Sources, graphs: tuple[Graph, Graph]
) -> Tensors:
    """Return the tensors of a map that is its prior, or unknown."""
    if sources and prior is not None:
        return {"writers": prior.writers, "readers": prior.readers}
    warn_of_unknown(name, sources)
    found = {}
    for ends in ("writers", "readers"):
        shape = [len(getattr(graph, ends)) for graph in graphs]
        found[ends] = np.full(shape, np.nan, np.float32)
    return found | {f"initial_{ends}": each for ends, each in found.items()}


def _tensors(fitted: FittedEdges, control: str) -> Tensors:
    """Return the tensors of a trained map or control."""
    hidden = () if control == "none" else INITIAL
    return {kind: v for kind, v in fitted.tensors().items() if kind not in hidden}
