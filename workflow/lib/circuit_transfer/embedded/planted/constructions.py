"""All constructions by name, as the configuration names them."""

from collections.abc import Callable, Mapping
from typing import Any

from circuit_transfer.embedded.planted.gates import Gates, plant_gates
from circuit_transfer.embedded.planted.induction import Induction, plant_induction
from circuit_transfer.embedded.planted.model import Planted
from circuit_transfer.embedded.planted.relays import Relays, plant_relays
from circuit_transfer.embedded.planted.subspaces import Subspaces, plant_subspaces

# By name: the settings, what builds the model, and the generator of its prompts.
CONSTRUCTIONS: Mapping[str, tuple[type, Callable[..., Planted], str]] = {
    "subspaces": (Subspaces, plant_subspaces, "planted-classes"),
    "induction": (Induction, plant_induction, "planted-induction"),
    "relays": (Relays, plant_relays, "planted-classes"),
    "gates": (Gates, plant_gates, "planted-classes"),
}


def plant(entry: Mapping[str, Any], tokens: dict[str, int]) -> Planted:
    """Build the model of a `planted:` entry of the configuration.

    Args:
        entry: `construction`, and settings of the construction.
        tokens: the vocabulary, with the words of the construction's generator.

    Raises:
        ValueError: there is no such construction, or it has no such setting.
    """
    settings, build, _ = CONSTRUCTIONS[_known(entry["construction"], CONSTRUCTIONS)]
    own = {key: each for key, each in entry.items() if key != "construction"}
    for key in own:
        _known(key, settings.__dataclass_fields__, f"{entry['construction']}: ")
    return build(settings(**own), tokens)


def _known(name: str, names: Mapping, where: str = "") -> str:
    if name not in names:
        raise ValueError(f"planted: {where}{name!r}: expected one of {[*names]}")
    return name
