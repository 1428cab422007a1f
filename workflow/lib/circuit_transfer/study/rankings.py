"""How many rankings and circuits a study evaluates, counted without running a model."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from circuit_transfer.artifacts.alignments import Alignment, tensor_name
from circuit_transfer.circuits.methods import has_run_gradients
from circuit_transfer.models.nodes import circuit_size, node_names
from circuit_transfer.transfer.controls import TARGET_ONLY, trained_controls
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
    study, settings = config["study"], config["alignment"]
    compared, seeds = settings["compare"], study["seeds"]
    scores = dict.fromkeys(study["tasks"], SCORES)
    rankings = projected_rankings(
        task,
        scores,
        scores,
        _fitted(task, config),
        [Alignment({"alignment": MATRIX}, {"seed": seed}) for seed in seeds],
        controls=settings["controls"],
        families=study_families(study["tasks"], study["families"]),
        stitched=_stitched() if STITCHED in compared else None,
        carried=(
            _carried(seeds)
            if CARRIED in compared and has_run_gradients(method)
            else None
        ),
    )
    return len(rankings), len(rankings.filter(control="none"))


def _fitted(task: str, config: Mapping) -> list[Alignment]:
    """Return the fits that a task is evaluated with, of every training set and seed."""
    study, settings = config["study"], config["alignment"]
    families = study_families(study["tasks"], study["families"])
    fitted = []
    for name in evaluated_training_sets(task, study["tasks"], families):
        maps = fitted_maps(name, settings["map"], settings["compare"])
        trained = fits(maps, trained_controls(name, settings["controls"]))
        tensors = {
            tensor_name("alignment", *each, maps): MATRIX + number
            for number, each in enumerate(trained)
        }
        labels = {"training_set": name, "maps": maps, "transform": "raw"}
        labels |= {"tasks": training_tasks(name, study["tasks"], families)}
        labels |= {"source_nodes": NODES, "target_nodes": NODES}
        fitted += [
            Alignment(tensors | {"initial": MATRIX}, labels | {"seed": seed})
            for seed in study["seeds"]
        ]
    return fitted


def _stitched() -> Alignment:
    own = dict.fromkeys(TARGET_ONLY, SCORES)
    return Alignment({"alignment": MATRIX, **own}, {})


def _carried(seeds: Sequence[int]) -> dict[str, np.ndarray]:
    drawn = product(("random-source", "other-family"), seeds)
    names = [f"{control}/{seed}" for control, seed in drawn]
    return dict.fromkeys(["none", "source-free", *names], SCORES)
