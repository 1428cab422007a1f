"""How a study learns circuits of edges: the settings of its methods, and checks."""

from collections.abc import Mapping
from dataclasses import asdict
from math import ceil
from typing import Any

from circuit_transfer.circuits.methods import check_method, is_learned, method_of
from circuit_transfer.pruning.discogp_settings import DiscoGP, discogp_settings
from circuit_transfer.pruning.settings import SoftTopK, method_settings


def attributing_methods(config: Mapping) -> list[str]:
    """Return the methods of a study that score edges by attribution."""
    return [each for each in config["study"]["edge_methods"] if not is_learned(each)]


def learning_methods(config: Mapping) -> list[str]:
    """Return the methods of a study that learn circuits of edges."""
    return [each for each in config["study"]["edge_methods"] if is_learned(each)]


def scoring_methods(config: Mapping) -> list[str]:
    """Return the methods that score edges in a study: filters of learned ones too."""
    filters = (filter_of(config, each) for each in learning_methods(config))
    every = [*attributing_methods(config), *filter(None, filters)]
    return list(dict.fromkeys(every))


def learned_settings(config: Mapping, method: str) -> Any:
    """Return the settings of a method, those of its preset filled in.

    Raises:
        ValueError: a value is not one that the method has.
    """
    section = config["pruning"]
    if method == "discogp":
        return discogp_settings(section[method])
    return method_settings(method, section)


def pruning_settings(config: Mapping, method: str) -> dict[str, Any]:
    """Return how a method learns circuits: what all methods share, and its own."""
    shared = ("examples", "batch_size", "sizes", "objective", "ablation")
    own = asdict(learned_settings(config, method))
    return {key: config["pruning"][key] for key in shared} | {method: own}


def filter_of(config: Mapping, method: str) -> str | None:
    """Return the method that chooses which edges a method trains, if there is one."""
    return getattr(learned_settings(config, method), "filter", None)


def training_steps(settings: Any) -> int:
    """Return how many optimiser steps a method takes."""
    if not isinstance(settings, DiscoGP):
        return settings.steps
    steps = {"weights": settings.weight_steps, "edges": settings.edge_steps}
    if settings.masks != "both":
        return steps[settings.masks]
    return settings.weight_steps if settings.order == "joint" else sum(steps.values())


def circuits_at_once(config: Mapping, settings: Any) -> int:
    """Return how many circuits a method runs side by side in every step."""
    if isinstance(settings, DiscoGP):
        return 1
    if isinstance(settings, SoftTopK):
        return settings.draws
    return len(config["pruning"]["sizes"])


def mask_copies(settings: Any) -> int:
    """Return how many numbers a method holds for every weight that has a mask.

    The mask's logit, its gradient and two moments, and the gate and the masked weight
    of the circuit and of what it leaves out, with gradients.
    """
    masks_weights = isinstance(settings, DiscoGP) and settings.masks != "edges"
    return 10 if masks_weights else 0


def training_passes(config: Mapping, method: str, pairs: int) -> tuple[int, int]:
    """Return how often a training runs a pair, without and with a backward pass.

    Args:
        config: a valid configuration, defaults filled in.
        method: of the training.
        pairs: how many it has.
    """
    settings = learned_settings(config, method)
    forwards, of_step = method_of(method).passes(None, 1)
    batch_size = min(config["pruning"]["batch_size"], pairs)
    circuits = circuits_at_once(config, settings)
    batches = training_steps(settings) * circuits
    # In the end all pairs, once for every circuit that has edges restored.
    last = circuits if getattr(settings, "restore", 0) else 0
    return forwards, of_step * ceil(batches * batch_size / max(pairs, 1)) + last


def check_learning(config: Mapping) -> None:
    """Check the settings of the methods by which a study learns circuits.

    Those of other methods mean nothing.

    Raises:
        ValueError: one is not possible.
    """
    methods, sizes = learning_methods(config), config["pruning"]["sizes"]
    for method in methods:
        settings = learned_settings(config, method)
        ablation = getattr(settings, "ablation", config["pruning"]["ablation"])
        try:
            check_method(method, ablation)
        except ValueError as error:
            raise ValueError(f"pruning.ablation: {error}") from error
        if hasattr(settings, "filter"):
            _check_filter(config, method, settings)
    if methods and sizes not in (sorted(sizes), sorted(sizes, reverse=True)):
        raise ValueError(
            f"pruning.sizes: {sizes}; expected ascending or descending sizes"
        )


def _check_filter(config: Mapping, method: str, settings: Any) -> None:
    key = f"pruning.{method}"
    largest = max(config["pruning"]["sizes"])
    if largest > settings.keep:
        raise ValueError(
            f"pruning.sizes: {largest} is above {key}.keep, {settings.keep}, the share "
            "of the edges that can be in a circuit; expected sizes of at most that, or "
            "a larger `keep`"
        )
    try:
        check_method(settings.filter, config["attribution"]["ablation"], "edges")
    except ValueError as error:
        raise ValueError(f"{key}.filter: {error}") from error
