"""Train maps of edge scores, those of all seeds side by side."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import nn

from circuit_transfer.circuits.masked_runs import masked_edge_logits
from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.circuits.prepared_edges import PreparedEdges
from circuit_transfer.interventions import Storage, plan_edges
from circuit_transfer.jobs.denormals import flushing_denormals
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.pruning.side_by_side import circuits_at_once, room_on
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_edge_maps import (
    EdgeStart,
    FittedEdges,
    TrainedEdgeMap,
)
from circuit_transfer.transfer.training import Target, train_maps

# Of the order of batches, which maps of all seeds share.
ORDER_SEED = 0


def fit_edges(
    model: nn.Module,
    prepared: Preparations[PreparedEdges],
    starts: Sequence[EdgeStart],
    settings: FitSettings,
    *,
    graphs: tuple[Graph, Graph],
    resume: Resume = NO_RESUME,
) -> list[FittedEdges]:
    """Train maps of edges on the prepared batches of their tasks, see `train_maps`.

    A step runs on the same batch for the maps of all seeds, so that they share passes.

    Args:
        model: the target, with frozen parameters.
        prepared: the batches; those of tasks without sources are unused.
        starts: of every map, all on the same training tasks.
        settings: how to train.
        graphs: the edges of source and target.
        resume: saves the training's progress.
    """
    room = room_on(model.device)
    # How circuits are put together in passes decides the rounding.
    resume.expect(room=room)
    target = edge_target(model, prepared, graphs[1], room)
    maps = [TrainedEdgeMap(each, settings, graphs, model.device) for each in starts]
    how = {"seed": ORDER_SEED, "name": "fit of edges", "resume": resume}
    with flushing_denormals():
        return train_maps(target, maps, starts[0].sources, settings, **how)


def edge_target(
    model: nn.Module, prepared: Preparations[PreparedEdges], graph: Graph, room: int
) -> Target:
    """Return what masks of edges are trained on.

    Args:
        model: the model, with frozen parameters.
        prepared: the batches, by the counterfactual ablation.
        graph: its edges.
        room: bytes that circuits may take side by side.
    """
    every = np.ones((1, graph.n_edges), bool)
    plan = plan_edges(graph, every, silent=True)
    return Target(
        prepared,
        graph.n_edges,
        partial(masked_edge_logits, model, plan=plan, storage=Storage()),
        lambda each: circuits_at_once(model, graph.kv, each.batch, room),
    )
