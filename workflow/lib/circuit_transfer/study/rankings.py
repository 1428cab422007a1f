"""How many rankings and circuits a study evaluates, counted without running a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product

import numpy as np
import polars as pl

from circuit_transfer.artifacts.alignments import Alignment, tensor_name
from circuit_transfer.circuits.methods import has_run_gradients
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.models.nodes import circuit_size, node_names
from circuit_transfer.study.edge_transfers import (
    FREE_MASK,
    edge_controls,
    edge_maps,
    lifted_maps,
    trained_edge_controls,
)
from circuit_transfer.transfer.controls import TARGET_ONLY, trained_controls
from circuit_transfer.transfer.edge_circuits import ranked_circuits
from circuit_transfer.transfer.edge_controls import EDGE_TARGET_ONLY
from circuit_transfer.transfer.edge_fits import EdgeFit
from circuit_transfer.transfer.edge_maps import lifted_map
from circuit_transfer.transfer.levels import EDGES, Fit
from circuit_transfer.transfer.lifted import lifted_rankings
from circuit_transfer.transfer.maps import CARRIED, STITCHED, fits, fitted_maps
from circuit_transfer.transfer.projection import projected_rankings
from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    study_families,
    training_tasks,
)

# The smallest model there can be.
NODES = node_names(1, 1)
MATRIX = np.zeros((len(NODES), len(NODES)), np.float32)
SCORES = MATRIX[0]
GRAPH = edge_graph(layers=1, heads=1, kv_heads=1)
EDGE_MAP = lifted_map(MATRIX, GRAPH, GRAPH)
EDGE_SCORES = np.zeros(GRAPH.n_edges, np.float32)
GRAPHS = {"source_graph": asdict(GRAPH), "target_graph": asdict(GRAPH)}


def count_circuits(rankings: int, n_nodes: int, proportions: Sequence[float]) -> int:
    """Return how many circuits run at most, the empty one among them.

    Sizes of equally many nodes run once, and the whole model is not run as a circuit.
    Rankings that agree on their first nodes save more.
    """
    sizes = {circuit_size(each, n_nodes) for each in proportions} - {0, n_nodes}
    return 1 + rankings * len(sizes)


def count_rankings(task: str, method: str, config: Mapping) -> tuple[int, int]:
    """Return how many rankings one task gives, and how many of them are aligned.

    They are made, from the smallest artefacts there can be, and counted.

    Args:
        task: the evaluated task.
        method: of attribution; gradients are of some alone.
        config: a valid configuration, defaults filled in.
    """
    rankings = _node_rankings(task, method, config)
    return len(rankings), len(rankings.filter(control="none"))


def count_edge_rankings(task: str, config: Mapping) -> tuple[int, int]:
    """Return the same of rankings of edges, whatever their method of attribution.

    The random circuits of equal effective size count as rankings, and of those that
    are aligned the main map's alone, whose complements are measured.
    """
    study, settings = config["study"], config["alignment"]["edges"]
    scores = dict.fromkeys(study["tasks"], EDGE_SCORES)
    controls, maps = edge_controls(config), edge_maps(config)
    masks = study["seeds"] if FREE_MASK in controls else []
    rankings = projected_rankings(
        task,
        scores,
        scores,
        _fitted(task, config, maps, controls, trained_edge_controls, _edge_fit),
        [Alignment({"alignment": EDGE_SCORES[None]}, {"seed": seed}) for seed in masks],
        controls=controls,
        families=study_families(study["tasks"], study["families"]),
        stitched=_stitched_edges() if STITCHED in maps else None,
        level=EDGES,
    )
    if lifted_maps(config):
        of_nodes = _node_rankings(task, settings["nodes"], config)
        lifted = lifted_rankings(of_nodes, GRAPH, maps, controls)
        rankings = pl.concat([rankings, lifted])
    labels, _ = ranked_circuits(GRAPH, rankings, [1.0], maps[0], controls)
    return len(labels), len(labels.filter(control="none", map=maps[0]))


def _node_rankings(task: str, method: str, config: Mapping) -> pl.DataFrame:
    study, settings = config["study"], config["alignment"]
    compared, seeds = settings["compare"], study["seeds"]
    scores, maps = dict.fromkeys(study["tasks"], SCORES), [settings["map"], *compared]
    controls = settings["controls"]
    return projected_rankings(
        task,
        scores,
        scores,
        _fitted(task, config, maps, controls, trained_controls, _node_fit),
        [Alignment({"alignment": MATRIX}, {"seed": seed}) for seed in seeds],
        controls=controls,
        families=study_families(study["tasks"], study["families"]),
        stitched=_stitched() if STITCHED in compared else None,
        carried=(
            _carried(seeds)
            if CARRIED in compared and has_run_gradients(method)
            else None
        ),
    )


def _fitted(
    task: str,
    config: Mapping,
    maps: Sequence[str],
    controls: Sequence[str],
    trained: Callable[[str, Sequence[str]], list[str]],
    made: Callable[..., Fit],
) -> list[Fit]:
    """Return the fits that a task is evaluated with, of every training set and seed.

    Args:
        task: the evaluated task.
        config: see `count_rankings`.
        maps: those of the study, the main one first.
        controls: those of the study.
        trained: returns which of them are trained on a training set.
        made: returns a fit of maps and controls with its labels.
    """
    study = config["study"]
    families = study_families(study["tasks"], study["families"])
    fitted = []
    for name in evaluated_training_sets(task, study["tasks"], families):
        own = fitted_maps(name, maps[0], maps[1:])
        labels = {"training_set": name, "maps": own, "transform": "raw"}
        labels |= {"tasks": training_tasks(name, study["tasks"], families)}
        every = fits(own, trained(name, controls))
        fitted += [made(every, labels | {"seed": seed}) for seed in study["seeds"]]
    return fitted


def _node_fit(fitted: Sequence[tuple], labels: Mapping) -> Alignment:
    maps = labels["maps"]
    tensors = {tensor_name("alignment", *each, maps): MATRIX for each in fitted}
    nodes = {"source_nodes": NODES, "target_nodes": NODES}
    return Alignment(tensors | {"initial": MATRIX}, labels | nodes)


def _edge_fit(fitted: Sequence[tuple], labels: Mapping) -> EdgeFit:
    maps, matrices = labels["maps"], vars(EDGE_MAP)
    tensors = {
        tensor_name(f"{before}{ends}", *each, maps): matrices[ends]
        for each in fitted
        for before in ("", "initial_")
        for ends in ("writers", "readers")
    }
    return EdgeFit(tensors, labels | GRAPHS)


def _stitched() -> Alignment:
    own = dict.fromkeys(TARGET_ONLY, SCORES)
    return Alignment({"alignment": MATRIX, **own}, {})


def _stitched_edges() -> EdgeFit:
    own = dict.fromkeys(EDGE_TARGET_ONLY, EDGE_SCORES)
    ends = {"writers": EDGE_MAP.writers, "readers": EDGE_MAP.readers}
    return EdgeFit(ends | own, GRAPHS | {"maps": [STITCHED]})


def _carried(seeds: Sequence[int]) -> dict[str, np.ndarray]:
    drawn = product(("random-source", "other-family"), seeds)
    names = [f"{control}/{seed}" for control, seed in drawn]
    return dict.fromkeys(["none", "source-free", *names], SCORES)
