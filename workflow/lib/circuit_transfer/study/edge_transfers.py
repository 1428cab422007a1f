"""What a study transfers of the scores of edges: names, settings and checks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from circuit_transfer.circuits.methods import has_run_gradients
from circuit_transfer.study.learning import attributing_methods
from circuit_transfer.study.validation import nearest
from circuit_transfer.transfer.edge_controls import (
    EDGE_CONTROLS,
    EDGE_TARGET_ONLY,
    TRAINED_EDGE_CONTROLS,
)
from circuit_transfer.transfer.maps import CARRIED, FILLED, LIFTED, MAPS, STITCHED
from circuit_transfer.transfer.training_sets import leaves_out

# The control that is a method of the study, learned on the target and the task itself.
FREE_MASK, FREE_MASK_METHOD = "free-mask", "soft-top-k"


def edge_transfers(config: Mapping) -> list[str]:
    """Return the methods whose scores of edges are transferred."""
    methods = config["alignment"]["edges"]["methods"]
    return [*methods] if config["study"]["transfers"] else []


def edge_maps(config: Mapping) -> list[str]:
    """Return the maps of edges, the main one first."""
    settings = config["alignment"]["edges"]
    return list(dict.fromkeys([settings["map"], *settings["compare"]]))


def edge_controls(config: Mapping) -> list[str]:
    """Return what transfers of edges are compared with.

    Where a configuration names none, all but the free mask, and of those that come with
    stitched maps none where these are not compared.
    """
    settings = config["alignment"]["edges"]
    if settings["controls"] is not None:
        return settings["controls"]
    absent = {FREE_MASK}
    absent |= set() if STITCHED in settings["compare"] else {*EDGE_TARGET_ONLY}
    return [each for each in EDGE_CONTROLS if each not in absent]


def trained_edge_controls(training_set: str, controls: Sequence[str]) -> list[str]:
    """Return the controls that are trained on a training set in addition to its maps.

    As at nodes, and of scores in which every writer and reader keeps its total.
    """
    trained = TRAINED_EDGE_CONTROLS if leaves_out(training_set) else ()
    return [name for name in trained if name in controls]


def lifted_maps(config: Mapping) -> list[str]:
    """Return the maps of edges that are made of transferred scores of nodes."""
    return [name for name in edge_maps(config) if name.startswith(LIFTED)]


def edge_fit_settings(config: Mapping) -> dict[str, Any]:
    """Return how maps of edges are trained; see `objectives.FitSettings`."""
    settings, prior = config["alignment"]["edges"], config["alignment"]["prior"]
    keys = ["epochs", "learning_rate", "objective", "sparsity", "initial_scale"]
    by_area = settings["objective"] == "area"
    return {
        **{key: settings[key] for key in keys},
        "proportions": config["evaluation"]["proportions"] if by_area else [],
        "prior_penalty": prior["penalty"],
        "prior_scale": prior["scale"],
    }


def check_edge_transfers(config: Mapping) -> None:
    """Check that what a study transfers of edges is there to be transferred.

    Raises:
        ValueError: saying where and what was expected.
    """
    if not edge_transfers(config):
        return
    attributing, settings = attributing_methods(config), config["alignment"]["edges"]
    for name in settings["methods"]:
        if name not in attributing:
            raise ValueError(
                f"alignment.edges.methods: {name!r} is not in study.edge_methods, so "
                f"its scores are not there; {_among(name, attributing)}"
            )
    _check_maps(config, settings)
    _check_controls(config, settings)


def _check_maps(config: Mapping, settings: Mapping) -> None:
    nodes = config["alignment"]
    of_nodes = dict.fromkeys([nodes["map"], *nodes["compare"]])
    known = [*MAPS, STITCHED, *(f"{LIFTED}{name}" for name in of_nodes)]
    for name in settings["compare"]:
        if name == CARRIED:
            raise ValueError(
                f"alignment.edges.compare: {name!r} maps gradients at nodes, which "
                "edges have none of; expected it in alignment.compare alone"
            )
        of_node = name.removeprefix(LIFTED)
        if name not in known and of_node in (*MAPS, STITCHED, CARRIED):
            raise ValueError(
                f"alignment.edges.compare: {name!r} takes scores of nodes by the map "
                f"{of_node!r}, which the study has not; expected {of_node!r} in "
                "alignment.compare"
            )
        if name not in known:
            raise ValueError(
                f"alignment.edges.compare: no map is called {name!r}; "
                f"{nearest(name, known)}"
            )
    _check_lifted(config, settings)
    filled = [n for n in edge_maps(config) if n in MAPS and MAPS[n].completed == FILLED]
    if filled and STITCHED not in settings["compare"]:
        raise ValueError(
            f"alignment.edges.compare: {filled[0]!r} takes how much the target's "
            f"edges change from the runs that {STITCHED!r} makes; expected "
            f"{STITCHED!r} there too"
        )


def _check_lifted(config: Mapping, settings: Mapping) -> None:
    methods, nodes = config["study"]["methods"], settings["nodes"]
    lifted = lifted_maps(config)
    if nodes is not None and nodes not in methods:
        raise ValueError(
            f"alignment.edges.nodes: {nodes!r} is not in study.methods, so its scores "
            f"are not there; {_among(nodes, methods)}"
        )
    if lifted and nodes is None:
        raise ValueError(
            f"alignment.edges.nodes: missing; expected the method whose transferred "
            f"scores of nodes {lifted[0]!r} takes: {_among('', methods)}"
        )
    # Gradients can be carried by some methods alone.
    carried = f"{LIFTED}{CARRIED}"
    if carried in lifted and not has_run_gradients(nodes):
        raise ValueError(
            f"alignment.edges.compare: {carried!r}, but {nodes} has no gradients to "
            "carry; expected another method as alignment.edges.nodes, or another map"
        )


def _check_controls(config: Mapping, settings: Mapping) -> None:
    controls = edge_controls(config)
    for name in EDGE_TARGET_ONLY:
        if name in controls and STITCHED not in settings["compare"]:
            raise ValueError(
                f"alignment.edges.controls: {name!r} comes with the maps that "
                f"{STITCHED!r} makes; expected {STITCHED!r} in alignment.edges.compare"
            )
    methods = config["study"]["edge_methods"]
    if FREE_MASK in controls and FREE_MASK_METHOD not in methods:
        raise ValueError(
            f"alignment.edges.controls: {FREE_MASK!r} is a circuit that "
            f"{FREE_MASK_METHOD!r} learns on the target; expected {FREE_MASK_METHOD!r} "
            "in study.edge_methods"
        )


def _among(name: str, known: Iterable[str]) -> str:
    known = [*known]
    return nearest(name, known) if known else "expected a study that has some"
