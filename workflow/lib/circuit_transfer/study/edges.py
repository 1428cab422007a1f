"""Which methods of edges a study verifies, and whether its settings of edges apply."""

from collections.abc import Mapping

from circuit_transfer.circuits.methods import edge_methods, method_of, takes_steps
from circuit_transfer.study.learning import attributing_methods, scoring_methods


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
    if settings["verify"] and not verified_methods(config):
        raise ValueError(
            f"attribution.verify: {settings['verify']} edges of every method that "
            f"estimates scores, but study.edge_methods {_listed(methods)}; expected "
            f"{_either(not is_exact(each) for each in edge_methods())} among them, or 0"
        )
    stepping = any(map(takes_steps, scoring_methods(config)))
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
