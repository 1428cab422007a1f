"""Maps and controls by method: those of nodes have others than those of edges."""

from collections.abc import Mapping, Sequence
from itertools import chain

# By method, in the order of the rows, its maps or its controls; the main map first.
Maps = Controls = Mapping[str, Sequence[str]]


def main_maps(maps: Maps) -> dict[str, str]:
    """Return the main map of every method."""
    return {method: names[0] for method, names in maps.items()}


def only_main(maps: Maps) -> Maps:
    """Return the maps of every method but for those that the main one is beside."""
    return {method: names[:1] for method, names in maps.items()}


def every_name(names: Maps | Controls) -> list[str]:
    """Return the maps or controls of all methods, each once."""
    return list(dict.fromkeys(chain.from_iterable(names.values())))
