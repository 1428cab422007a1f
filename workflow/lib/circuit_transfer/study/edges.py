"""The methods of edges of a study by kind, and whether its settings of edges apply."""

from collections.abc import Mapping

from circuit_transfer.circuits.methods import (
    edge_methods,
    is_learned,
    method_of,
    takes_steps,
)


def attributing_methods(config: Mapping) -> list[str]:
    """Return the methods of a study that score edges by attribution."""
    return [each for each in config["study"]["edge_methods"] if not is_learned(each)]


def learning_methods(config: Mapping) -> list[str]:
    """Return the methods of a study that learn circuits of edges."""
    return [each for each in config["study"]["edge_methods"] if is_learned(each)]


def filter_of(config: Mapping, method: str) -> str | None:
    """Return the method whose highest edges alone a method trains, if there is one."""
    return config["pruning"].get(method, {}).get("filter")


def scoring_methods(config: Mapping) -> list[str]:
    """Return the methods that score edges in a study: filters of learned ones too."""
    filters = (filter_of(config, each) for each in learning_methods(config))
    every = [*attributing_methods(config), *filter(None, filters)]
    return list(dict.fromkeys(every))


def verified_methods(config: Mapping) -> list[str]:
    """Return the methods of which some edges are patched one by one.

    All that attribute but those that patch every edge themselves.
    """
    if not config["attribution"]["verify"]:
        return []
    return [each for each in attributing_methods(config) if not is_exact(each)]


def is_exact(method: str) -> bool:
    """Return whether a method patches everything that it scores."""
    return method_of(method).gradients == "none"


def check_edges(config: Mapping) -> None:
    """Check that the settings of edges are of a method that a study has.

    Raises:
        ValueError: one has no effect, since no method is of the kind that it is for.
    """
    methods, settings = config["study"]["edge_methods"], config["attribution"]
    stepping = any(map(takes_steps, scoring_methods(config)))
    if settings["verify"] and not verified_methods(config):
        raise ValueError(
            f"attribution.verify: {settings['verify']} edges of every method that "
            f"estimates scores, but study.edge_methods {_listed(methods)}; expected "
            f"{_either(not is_exact(each) for each in edge_methods())} among them, or 0"
        )
    if methods and settings["grid"] != "right" and not stepping:
        raise ValueError(
            f"attribution.grid: {settings['grid']!r} says where the steps are, but "
            f"study.edge_methods {_listed(methods)}, without steps; expected "
            f"{_either(map(takes_steps, edge_methods()))} among them, or 'right', the "
            "default"
        )


def _listed(methods: list[str]) -> str:
    return f"has {' and '.join(methods)}" if methods else "is empty"


def _either(chosen) -> str:
    """Name the methods of edges for which a condition holds."""
    pairs = zip(edge_methods(), chosen, strict=True)
    return " or ".join(name for name, holds in pairs if holds)
