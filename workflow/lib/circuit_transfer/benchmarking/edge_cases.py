"""What is measured of edges, with its ideal cost in bare passes; see `cases`.

On the graph with a reader for each key and value (`kv-head`).
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from circuit_transfer.benchmarking.case import Case
from circuit_transfer.benchmarking.entries import (
    EDGE_CIRCUITS,
    EDGE_MAP_STEP,
    EXACT_EDGES,
    PRUNING_STEP,
    WHOLE_EDGE_CIRCUIT,
    Load,
)
from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.edge_runs import (
    edge_ablation_of,
    edge_runs,
    run_edge_circuits,
)
from circuit_transfer.circuits.exact_edges import exact_edges
from circuit_transfer.circuits.methods import Nodes, method_of
from circuit_transfer.circuits.prepared_edges import prepare_edges, prepare_tasks
from circuit_transfer.interventions import edge_logits, plan_edges
from circuit_transfer.models.edges import KV_HEAD, Graph, config_graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.gated import GatedEdges
from circuit_transfer.pruning.learned_masks import Setup
from circuit_transfer.pruning.settings import EdgePruning
from circuit_transfer.pruning.side_by_side import room_on
from circuit_transfer.pruning.training import LOSSES, Training
from circuit_transfer.transfer import training as map_training
from circuit_transfer.transfer.edge_maps import lifted_map
from circuit_transfer.transfer.edge_training import edge_target
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_edge_maps import EdgeStart, TrainedEdgeMap

LIMITS = {
    EDGE_CIRCUITS: 0.8,
    WHOLE_EDGE_CIRCUIT: 1.3,
    EXACT_EDGES: 0.3,
    PRUNING_STEP: 1.5,
    EDGE_MAP_STEP: 1.8,
}
MEMORY_LIMIT, TRAINING_MEMORY_LIMIT = 1.3, 2.3  # of circuits, and of soft ones
# Of the map that is trained.
TASK, STEPS = "random", 1000
# The writers whose edges are ablated alone, as shares of the way through the model:
# as with every edge, those of one writer follow each other.
SAMPLED = (1 / 6, 3 / 6, 5 / 6)


def edge_cases(model: nn.Module, batch: PairBatch, load: Load) -> list[Case]:
    """Return every computation on edges that is measured."""
    if not load.edge_methods:
        return []
    graph = config_graph(model.config, KV_HEAD)
    scored = [
        _attribution(model, batch, graph, name, load) for name in load.edge_methods
    ]
    circuits = _circuits(model, batch, graph, load)
    return [
        *scored,
        *circuits,
        _exact(model, batch, graph),
        _pruning_step(model, batch, graph),
        _edge_map_step(model, batch, graph),
    ]


def _attribution(
    model: nn.Module, batch: PairBatch, graph: Graph, name: str, load: Load
) -> Case:
    method, steps = method_of(name), load.ig_steps
    nodes = Nodes(len(graph.writers) - 1, 2 * graph.layers, graph.n_edges)
    return Case(
        name,
        lambda: attribute_edges(model, [batch], graph, method=name, ig_steps=steps),
        *method.ideal_passes(nodes, steps),
        method.limit,
        method.memory_limit,
    )


def _circuits(
    model: nn.Module, batch: PairBatch, graph: Graph, load: Load
) -> list[Case]:
    """All sizes of one ranking, and one circuit with every edge."""
    scores = attribute_edges(model, [batch], graph, method="eap").scores.numpy()
    ranking = np.abs(graph.flat(scores))[None]
    (masks,) = edge_circuits(ranking, load.proportions)
    ablation = edge_ablation_of(model, [batch], "counterfactual")
    with torch.inference_mode():
        runs = edge_runs(model, batch, graph, ablation)
    whole = plan_edges(graph, np.ones((1, graph.n_edges), bool), silent=True)
    # Every size is a pass, and the corrupted prompts are one more.
    passes = len(masks) + 1

    @torch.inference_mode()
    def run_whole() -> Any:
        return edge_logits(model, runs, whole)

    def run_sizes() -> Any:
        return run_edge_circuits(model, [batch], graph, masks)

    sizes = (EDGE_CIRCUITS, run_sizes, passes, 0, LIMITS[EDGE_CIRCUITS])
    every = (WHOLE_EDGE_CIRCUIT, run_whole, 1, 0, LIMITS[WHOLE_EDGE_CIRCUIT])
    return [Case(*sizes, MEMORY_LIMIT), Case(*every)]


def _exact(model: nn.Module, batch: PairBatch, graph: Graph) -> Case:
    writers = [int(share * len(graph.writers)) for share in SAMPLED]
    edges = np.flatnonzero(np.isin(graph.ends[0], writers))

    def run() -> Any:
        return exact_edges(model, [batch], graph, edges)

    return Case(EXACT_EDGES, run, len(edges), 0, LIMITS[EXACT_EDGES])


def _pruning_step(model: nn.Module, batch: PairBatch, graph: Graph) -> Case:
    """One step of training a gate for every edge; the batch is prepared before."""
    settings, every = EdgePruning(), np.ones((1, graph.n_edges), bool)
    (prepared,) = prepare_edges(model, [batch], graph, "counterfactual")
    plan = plan_edges(graph, every, silent=True)
    setup = Setup("edge-pruning", graph, (0.05,), settings, 0, model.device)
    masks = GatedEdges(setup)
    training = Training(masks, settings.steps)

    def run() -> Any:
        training.step(model, prepared, plan, LOSSES["kl"])

    limits = LIMITS[PRUNING_STEP], TRAINING_MEMORY_LIMIT
    return Case(PRUNING_STEP, run, 0, 1, *limits)


def _edge_map_step(model: nn.Module, batch: PairBatch, graph: Graph) -> Case:
    """One step of training a map from the model's own edges, likewise."""
    prepared = prepare_tasks(model, {TASK: [batch]}, graph)
    generator, graphs = np.random.default_rng(0), (graph, graph)
    scores = generator.random(graph.n_edges, np.float32)
    same = np.eye(len(graph.writers) - 1, dtype=np.float32)
    start = EdgeStart({TASK: scores}, seed=0, prior=lifted_map(same, *graphs))
    settings = FitSettings(epochs=1, learning_rate=0.1, sparsity=1.0)
    trained = TrainedEdgeMap(start, settings, graphs, model.device)
    training = map_training.Training([trained], settings, STEPS, "benchmark")
    target = edge_target(model, prepared, graph, room_on(model.device))

    def run() -> Any:
        training.step(target, 0)

    limits = LIMITS[EDGE_MAP_STEP], TRAINING_MEMORY_LIMIT
    return Case(EDGE_MAP_STEP, run, 0, 1, *limits)
